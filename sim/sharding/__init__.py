"""One simulation over several processes: conservative parallel discrete-event simulation."""
