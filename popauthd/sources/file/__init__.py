"""Follows a log file through rotation: what pygtail decides, and what we do.

- `source` asks `tail` for the next block. `tail` is pygtail: when the file at hand is at its end and
  was rotated, pygtail closes it and goes on with the next one. What opens and reads is ours.
- At the end of the log, `source` asks `rotation` whether the log's name now means another file. If
  so, `rotation` opens what comes next: the rotated `siblings`, plain or compressed, that are newer
  than the file at hand, and the new log. It knows a file by device, inode and what was read of it.
- A file that was read to its end stays open in `old_files`, which reads what is written to it late.
- A file that no longer holds what was read from it was truncated or written anew (`blocks`). Then its
  copy is looked for among the siblings (copytruncate). Without a copy the rest is lost: `gaps`.
- Rotated files may be in another directory: `logrotate` reads the olddir of its configuration.
- After a restart, `rotation` looks for the file of the saved `place` in the same way. Without a place,
  reading begins with the last `window` of time, which `find_start` finds.
- `open_file` opens nothing but regular files. `wake` tells that something happened in the directory.
"""
