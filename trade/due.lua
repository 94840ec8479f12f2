-- Lists the trades that must be looked at.
-- KEYS[1]  trades to look at
-- ARGV[1]  at most so many
-- returns  {now, trade id, since when, trade id, …}, Unix ms
local at = text(now())
local list = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', at, 'WITHSCORES', 'LIMIT', '0', ARGV[1])
table.insert(list, 1, at)
return list
