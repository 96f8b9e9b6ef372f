"""Follows a log file through rotation. pygtail decides, watchdog wakes, and we read.

- pygtail keeps the offset and finds the rotated file with the inode that we were reading.
- `wake` tells that something happened in the directory. The log is looked at once a second anyway.
- `source` hands out blocks of whole lines, each with its place.
- `place` is what is saved with what was learnt: which file, how far, and what it looked like there.
- `rotation` finds the file of a place among the log and its rotated `siblings`, and what follows it.
- `tail` reads one file from a place on; `blocks` cuts what was read into whole lines.
- `find_start` finds the first line that is young enough in a log without a saved place.
- `open_file` opens a log or a compressed copy, and nothing that is not a regular file.
"""
