"""The command line: for users (`main`), for operators (`admin`), and the demonstration (`demo`)."""
