-- enter tells whether the script may go on.
-- lock, fence  the keys of the lock   mine  the fence of the caller's lease, '' without one
-- returns      nil: it may
--              {'held'}: somebody else has a lease
--              {'stale', newest fence}: the caller's lease has expired, whether or not there was
--              another one since
local function enter(lock, fence, mine)
  if redis.call('EXISTS', lock) == 0 then
    if mine == '' then return nil end
    return {'stale', redis.call('GET', fence) or ''}
  end
  if mine == '' then return {'held'} end
  local newest = redis.call('GET', fence)
  if newest ~= mine then return {'stale', newest or ''} end
end

-- pass is called when the script goes on. It need not record anything: an older lease finds its
-- lock gone, or held by another lease.
local function pass() end
