"""Reading data sets, reading and writing files."""
