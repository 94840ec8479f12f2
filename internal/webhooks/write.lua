-- Writes an event.
-- ARGV[1]  its type   ARGV[2]  its id, or ''   ARGV[3]  data, JSON
-- returns  its place in the stream; 0 when too many events wait; nil when its type is not told;
--          {error, 1 when it was counted, else 0} when Redis refuses it
local got = webhook(ARGV[1], ARGV[2], ARGV[3])
if type(got) ~= 'table' then return got end
return {got.err, got.uncounted and 0 or 1}
