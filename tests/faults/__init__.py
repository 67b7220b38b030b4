"""Fault injection: what a run does to the disk, seen call by call, so that it can be killed, refused or lost at each."""
