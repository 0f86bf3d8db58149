"""What algorithms share: settings, batches, rollouts, preference data; and every global of TRL that is replaced."""
