-- Lists the trades that the sweeper must look at.
-- KEYS[1]  trades by when to look at them
-- ARGV[1]  at most so many
-- returns  {now, trade id, due since, trade id, …}, times in Unix ms
local at = text(now())
local list = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', at, 'WITHSCORES', 'LIMIT', '0', ARGV[1])
table.insert(list, 1, at)
return list
