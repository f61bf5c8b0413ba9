"""One file for each revision, in the order of their names. What was released is never edited."""
