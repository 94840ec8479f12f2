-- Functions for scripts about the challenges to a character. A challenge is a field of one hash:
-- "<state> <until> <expiry> <fight> <challenger>\n<record>". The state is O open; H open, and hidden
-- from the challenged, who ignores the challenger; A accepted, and then fight is the id of the fight;
-- D over. The entry is kept until then, the challenge is open until its expiry, both Unix ms. The
-- challenger is the id of a character, the record is JSON.

local function challenge_clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function whole(n) return string.format('%.0f', n) end

-- challenge_read returns an entry as a table, nil when there is none or its time is over.
local function challenge_read(text, now)
  if not text then return nil end
  local state, till, expiry, fight, from, record = string.match(text, '^(%a) (%d+) (%d+) (%S+) ([^\n]*)\n(.*)$')
  if not state or tonumber(till) <= now then return nil end
  return {state = state, till = tonumber(till), expiry = tonumber(expiry), fight = fight, from = from, record = record}
end

local function challenge_write(key, id, c)
  redis.call('HSET', key, id, c.state .. ' ' .. whole(c.till) .. ' ' .. whole(c.expiry) .. ' ' .. c.fight .. ' ' .. c.from .. '\n' .. c.record)
  if redis.call('PTTL', key) < c.till - challenge_clock() then redis.call('PEXPIREAT', key, whole(c.till)) end
end
