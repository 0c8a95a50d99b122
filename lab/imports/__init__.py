"""Runs that become of files from outside: checked first, then folders of the store."""
