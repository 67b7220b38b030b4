"""Fault injection: what a run does to the disk, call by call, so that it can be killed, refused or lost there."""
