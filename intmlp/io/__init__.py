"""Reading data sets and writing files."""
