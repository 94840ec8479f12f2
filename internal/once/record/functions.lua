-- Functions about the record of an event that is done once. A record is a string: the state, one
-- letter; 16 characters that identify the payload; and
--   C  claimed: when, Unix ms, 13 digits; then the token of the holder
--   G  given up: the same; the holder does not know what became of the event
--   A  answered: '+' and the answer's data, or '-' and the fault, as JSON
--   L  done, and the answer is not kept here: it is too long, or the feature finds it by the
--      reference that follows

-- once_clock returns the time, Unix ms.
local function once_clock()
  local now = redis.call('TIME')
  return string.format('%013.0f', now[1] * 1000 + math.floor(now[2] / 1000))
end

-- once_look returns what stands in the way of an event, false when nothing does:
--   {'mine'}           the caller has claimed it before
--   {'answer', text}   it was answered
--   {'conflict'}       it had another payload
--   {'held', ms}       a holder is at it, and counts as dead in so many ms
--   {'taken'}          its holder died or gave up; the caller has the claim now
--   {'lost'}           the same, but take was not '1'
--   {'long'}           it was done, and its answer was not kept
local function once_look(record, token, digest, keep, hold, take)
  local text = redis.call('GET', record)
  if not text then return false end
  if string.sub(text, 2, 17) ~= digest then return {'conflict'} end
  local state = string.sub(text, 1, 1)
  if state == 'A' then return {'answer', string.sub(text, 18)} end
  if state == 'L' then return {'long'} end
  if string.sub(text, 31) == token then return {'mine'} end
  local now = once_clock()
  if state == 'C' then
    local left = string.sub(text, 18, 30) + hold - now
    if left > 0 then return {'held', string.format('%.0f', left)} end
  end
  if take ~= '1' then return {'lost'} end
  redis.call('SET', record, 'C' .. digest .. now .. token, 'PX', keep)
  return {'taken'}
end

-- once_claim writes a claim.
local function once_claim(record, token, digest, keep)
  redis.call('SET', record, 'C' .. digest .. once_clock() .. token, 'PX', keep)
end

-- once_judge is for the script that does the effect of an event. text is the record, or false. It
-- returns false when the effect may be done, and otherwise {'answer', text} when it was done before,
-- or {'lost'} when another holder has the claim, or the payload was another one, or it was done and
-- the answer is not kept here; then nothing may be done.
local function once_judge(text, token, digest)
  if not text then return false end
  if string.sub(text, 2, 17) ~= digest then return {'lost'} end
  local state = string.sub(text, 1, 1)
  if state == 'A' then return {'answer', string.sub(text, 18)} end
  if state == 'L' or string.sub(text, 31) ~= token then return {'lost'} end
  return false
end

-- once_check is once_judge of a record in Redis.
local function once_check(record, token, digest)
  return once_judge(redis.call('GET', record), token, digest)
end

-- once_answer writes the answer. The caller has asked once_check in the same script. An answer that
-- is longer than most bytes is not kept; without most, 4 KiB.
local function once_answer(record, digest, keep, answer, most)
  local text = 'A' .. digest .. answer
  if #answer > tonumber(most or 4096) then text = 'L' .. digest end
  redis.call('SET', record, text, 'PX', keep)
end
