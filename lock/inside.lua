-- May the script go on? mine is the fence of the caller's lease, '' when it has none.
-- returns  nothing when it may; or {'held'} somebody has a lease, {'stale', newest fence} others had one since
local function enter(lock, fence, mine)
  if mine == '' then
    if redis.call('EXISTS', lock) == 1 then return {'held'} end
    return
  end
  local newest = redis.call('GET', fence)
  if newest ~= mine then return {'stale', newest or ''} end
end

-- The script commits: from now on no lease from before may.
local function pass(fence, mine)
  if mine == '' then next_fence(fence) end
end
