"""What an installation and a machine are like, looked at before anything is run on them; imports no torch."""
