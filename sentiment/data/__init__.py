"""Reviews: raw files, the user's labelled files, text, and arrays of word ids."""
