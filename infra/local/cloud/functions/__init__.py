"""Lambda: functions that run from their deployed zip under AWS's own emulator, and what invokes them by itself."""
