--[[
  Runs scripts as a Redis would that is built upon this Lua, whichever it is. Its standard input has a script and its
  keys and arguments, as a list of RESP2: text, number of keys, keys, arguments. To its standard output go lists too:
    call    and a command: its reply is read from standard input
    return  and what the script answers
  What a script may use is what Redis's own environment has, as far as this Lua has it.
]]
-- Whoever builds a Lua may keep what it no longer has (LUA_COMPAT_5_1, LUA_COMPAT_MATHLIB), and Debian does.
if _VERSION ~= 'Lua 5.1' then
  unpack, loadstring, table.maxn = nil, nil, nil
  for _, name in ipairs({'atan2', 'cosh', 'frexp', 'ldexp', 'log10', 'pow', 'sinh', 'tanh'}) do math[name] = nil end
end

local function read()
  local line = io.read('*l')
  if not line then os.exit(0) end
  local kind, rest = string.match(line, '^(.)(.-)\r?$')
  if kind == '+' then return {ok = rest} end
  if kind == '-' then return {err = rest} end
  if kind == ':' then return tonumber(rest) end
  local size = tonumber(rest)
  if size < 0 then return false end
  if kind == '$' then
    local text = size > 0 and io.read(size) or ''
    io.read(2)
    return text
  end
  local list = {}
  for index = 1, size do list[index] = read() end
  return list
end

local function bulk(text) return '$' .. string.format('%.0f', #text) .. '\r\n' .. text .. '\r\n' end

-- As luaReplyToRedisReply does: a number loses its fraction, and a list ends at the first nil.
local function reply(value)
  local kind = type(value)
  if kind == 'string' then return bulk(value) end
  if kind == 'number' then return ':' .. string.format('%.0f', value >= 0 and math.floor(value) or math.ceil(value)) .. '\r\n' end
  if value == true then return ':1\r\n' end
  if kind ~= 'table' then return '$-1\r\n' end
  if value.err then return '-' .. value.err .. '\r\n' end
  if value.ok then return '+' .. value.ok .. '\r\n' end
  local parts = {}
  while value[#parts + 1] ~= nil do parts[#parts + 1] = reply(value[#parts + 1]) end
  return '*' .. string.format('%.0f', #parts) .. '\r\n' .. table.concat(parts)
end

local function send(...)
  local parts = {...}
  io.write('*', string.format('%.0f', #parts), '\r\n', table.concat(parts))
  io.flush()
end

-- An integer, where this Lua has them, keeps all its digits; any other number has 17, as in Redis.
local function argument(value)
  if type(value) == 'string' then return bulk(value) end
  if type(value) ~= 'number' then error('Lua redis lib command arguments must be strings or integers', 0) end
  if math.type and math.type(value) == 'integer' then return bulk(string.format('%d', value)) end
  return bulk(string.format('%.17g', value))
end

local function command(...)
  local parts = {bulk('call')}
  for index = 1, select('#', ...) do parts[index + 1] = argument((select(index, ...))) end
  io.write('*', string.format('%.0f', #parts), '\r\n', table.concat(parts))
  io.flush()
  return read()
end

local redis = {
  pcall = command,
  call = function(...)
    local answer = command(...)
    if type(answer) == 'table' and answer.err then error(answer, 0) end
    return answer
  end,
  error_reply = function(text) return {err = text} end,
  status_reply = function(text) return {ok = text} end,
}

local NAMES = {
  'assert', 'error', 'getmetatable', 'ipairs', 'next', 'pairs', 'pcall', 'rawequal', 'rawget', 'rawset', 'select',
  'setmetatable', 'tonumber', 'tostring', 'type', 'unpack', 'xpcall', 'math', 'string', 'table',
}

local function environment(keys, arguments)
  local known = {redis = redis, KEYS = keys, ARGV = arguments}
  for _, name in ipairs(NAMES) do known[name] = _G[name] end
  return setmetatable({}, {
    __index = function(_, name)
      if known[name] == nil then error("Script attempted to access nonexistent global variable '" .. name .. "'", 2) end
      return known[name]
    end,
    __newindex = function(_, name) error("Attempt to modify global '" .. name .. "'", 2) end,
  })
end

local function compile(text, names)
  if not setfenv then return load(text, '@user_script', 't', names) end
  local chunk, trouble = loadstring(text, '@user_script')
  return chunk and setfenv(chunk, names), trouble
end

while true do
  local message = read()
  local keys, arguments = {}, {}
  local count = tonumber(message[2])
  for index = 3, #message do
    if index <= count + 2 then keys[#keys + 1] = message[index] else arguments[#arguments + 1] = message[index] end
  end
  local chunk, trouble = compile(message[1], environment(keys, arguments))
  local answered, value = false, trouble
  if chunk then answered, value = pcall(chunk) end
  if not answered and type(value) ~= 'table' then value = {err = 'ERR ' .. string.gsub(tostring(value), '[\r\n]', ' ')} end
  send(bulk('return'), reply(value))
end
