-- May the script go on? mine is the fence of the caller's lease, '' when it has none.
-- returns  nil when it may, and whether pass must outdate leases; or {'held'} somebody has a lease, {'stale', newest fence}
--          others had one since
local function enter(lock, fence, mine)
  if mine == '' then
    if redis.call('EXISTS', lock, fence) == 0 then return nil, false end -- nobody ever had one
    if redis.call('EXISTS', lock) == 1 then return {'held'} end
    return nil, true
  end
  local newest = redis.call('GET', fence)
  if newest ~= mine then return {'stale', newest or ''} end
end

-- The script goes on: no lease from before may any more.
local function pass(fence, mine, outdate)
  if outdate then next_fence(fence) end
end
