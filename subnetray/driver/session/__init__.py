"""Hold a driver and the processes that it starts: private scratch, watchdog, signals, launcher's variables."""
