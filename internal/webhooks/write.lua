-- Writes an event.
-- ARGV[1]  its type   ARGV[2]  its id, or ''   ARGV[3]  data, JSON
-- returns  its place in the stream; 0 when too many events wait; nil when its type is not told
return webhook(ARGV[1], ARGV[2], ARGV[3])
