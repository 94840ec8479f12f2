-- Decides what is sent to a channel about its users: of each at most once a second. The first change
-- is sent at once. What changes within the second after it is pending: at its end the user's state is
-- sent, unless it is the one that was sent last. enter.lua and leave.lua begin with this file.
-- KEYS[5]  the users about whom something was sent in the last second, or is pending: a zset, by when
--          it was sent, Unix ms
-- KEYS[6]  the users whose state is another than the one that was sent last, a hash: what is shown of
--          a user who has left, '' for one who is there

-- notify adds to reply: the ms until the next pending state is due, or -1; then of each event that is
-- to be sent '1' (joined) or '0' (left), and what is shown of the user. changes has of each user whose
-- state has changed the id and what is shown: '' for one who is there, false where nothing is known of
-- one who has left. size is how many users are there or have just left; in a channel of more than
-- crowd nothing is sent.
local function notify(reply, changes, size, crowd, ttl)
  local every = 1000
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local function send(user, shown)
    if size > crowd then return end
    redis.call('ZADD', KEYS[5], string.format('%.0f', now), user)
    local joined = shown == ''
    if joined then shown = redis.call('HGET', KEYS[2], user) end
    if shown then
      reply[#reply + 1] = joined and '1' or '0'
      reply[#reply + 1] = shown
    end
  end
  local due = #reply + 1
  reply[due] = -1
  -- The second of these users is over. What is pending of them is sent, unless a change undoes it.
  local over = redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', string.format('%.0f', now - every), 'LIMIT', 0, 200)
  local pending = {}
  for _, user in ipairs(over) do
    redis.call('ZREM', KEYS[5], user)
    pending[user] = redis.call('HGET', KEYS[6], user)
    redis.call('HDEL', KEYS[6], user)
  end
  for i = 1, #changes, 2 do
    local user, shown = changes[i], changes[i + 1]
    if pending[user] then
      pending[user] = nil
    elseif redis.call('HDEL', KEYS[6], user) == 0 then
      if not redis.call('ZSCORE', KEYS[5], user) then
        send(user, shown)
      elseif shown then
        redis.call('HSET', KEYS[6], user, shown)
      end
    end
  end
  for _, user in ipairs(over) do
    if pending[user] then send(user, pending[user]) end
  end
  local keep = every
  if redis.call('HLEN', KEYS[6]) > 0 then
    local first = redis.call('ZRANGE', KEYS[5], 0, 0, 'WITHSCORES')
    if first[2] then reply[due] = math.max(0, first[2] + every - now) end
    keep = ttl
    redis.call('PEXPIRE', KEYS[6], ttl)
  end
  redis.call('PEXPIRE', KEYS[5], keep)
  return reply
end

