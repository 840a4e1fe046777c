"""Reviews: raw files, labelled files of the user's own, text, and arrays of word ids."""
