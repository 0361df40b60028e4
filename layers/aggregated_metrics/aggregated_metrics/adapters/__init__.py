"""What talks to something outside: the API, the tables, the queues, the environment, the log."""
