"""What `chipledger` can be told, a file for each subject; each is imported when it is asked for."""
