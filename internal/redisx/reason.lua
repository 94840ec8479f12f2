-- Returns what went wrong, without the position in the script.
local function reason(failure)
  if type(failure) == 'table' then return failure.err end
  return (string.gsub(tostring(failure), '^[^:]*: ?%d+: ', ''))
end
