-- May the script go on? mine is the fence of the caller's lease, '' when it has none.
-- returns  nil when it may; or {'held'} somebody has a lease, {'stale', newest fence} the caller's has run out, whether or not
--          others had one since
local function enter(lock, fence, mine)
  if redis.call('EXISTS', lock) == 0 then
    if mine == '' then return nil end
    return {'stale', redis.call('GET', fence) or ''}
  end
  if mine == '' then return {'held'} end
  local newest = redis.call('GET', fence)
  if newest ~= mine then return {'stale', newest or ''} end
end

-- The script goes on. Nothing must be kept of it: a lease from before finds its lock gone, or another's.
local function pass() end
