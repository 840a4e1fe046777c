# The step of action.yml that runs a check. It reads CHECK, FOLDER, ARGUMENTS, PACKAGES, FORM, FAIL_FROM and PYTHON, and
# GitHub's RUNNER_TEMP, GITHUB_ACTION_PATH, GITHUB_OUTPUT and GITHUB_STEP_SUMMARY.
set -o nounset -o pipefail

refuse() { echo "error: $1"; exit 3; }
case "$CHECK" in
  gate) words=(clean stale inconsistent unreadable); FORM=${FORM:-github} ;;
  verify) words=(identical "within tolerance" different "could not run"); FORM=${FORM:-markdown} ;;
  report) words=(written "" "" "could not run"); FORM=text ;;
  *) refuse "check: expected gate, verify or report, got $CHECK" ;;
esac
case "$CHECK $FORM" in
  "$CHECK text") form=() ;;
  "$CHECK json" | "$CHECK markdown" | "gate github") form=("--$FORM") ;;
  *) refuse "form: expected text, json, markdown, or github for gate, got $FORM" ;;
esac
[[ "$FAIL_FROM" =~ ^[1-4]$ ]] || refuse "fail-from: expected 1, 2, 3 or 4, got $FAIL_FROM"
cd -- "$FOLDER" || refuse "folder: expected one of the checkout, got $FOLDER"
read -r -d '' -a arguments <<<"$ARGUMENTS"
read -r -d '' -a packages <<<"$PACKAGES"

# A separate environment, so that the pipeline's stays as it is.
environment="$RUNNER_TEMP/dvc-checks"
[ -d "$environment" ] || "$PYTHON" -m venv "$environment" || exit 3
bin="$environment/bin"; [ -d "$bin" ] || bin="$environment/Scripts"
"$bin/python" -m pip install --quiet --disable-pip-version-check "$GITHUB_ACTION_PATH/checks" \
  ${packages[@]+"${packages[@]}"} || exit 3

output="$RUNNER_TEMP/dvc-checks.txt"
"$bin/dvc-$CHECK" ${form[@]+"${form[@]}"} ${arguments[@]+"${arguments[@]}"} | tee "$output"
code=${PIPESTATUS[0]}

{
  echo "code=$code"
  echo "verdict=${words[$code]-}"
  if [ "$CHECK" = report ] && [ -f report/report.md ]; then echo "report=$FOLDER/report"; fi
} >>"$GITHUB_OUTPUT"
{
  echo "### dvc-$CHECK: ${words[$code]:-exit code $code}"
  if [ "$CHECK" = report ]; then
    if [ -f report/report.md ]; then cat report/report.md; fi
  elif [ "$FORM" = markdown ]; then
    cat "$output"
  elif [ "$CHECK" = gate ]; then
    "$bin/dvc-gate" --markdown ${arguments[@]+"${arguments[@]}"}
  else
    echo '```'; cat "$output"; echo '```'
  fi
} >>"$GITHUB_STEP_SUMMARY"

[ "$code" -lt "$FAIL_FROM" ] && exit 0
exit "$code"
