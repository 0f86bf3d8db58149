"""Share settings, batches, rollouts and preference data among algorithms, and replace globals of TRL in one place."""
