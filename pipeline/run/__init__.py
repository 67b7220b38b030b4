"""What all runs share: plan, partition, claim, events, records, memory."""
