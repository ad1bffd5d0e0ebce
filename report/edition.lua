-- What Quarto does to a document beyond pandoc, for HTML, Typst and GitHub's Markdown: parts for one
-- format only; numbers of sections, figures, tables and equations; references to them.

local HTML, TYPST, GFM = FORMAT:match("html"), FORMAT:match("typst"), FORMAT:match("gfm")
local NAME = HTML and "html" or TYPST and "typst" or "markdown"
local WORDS = { fig = "Figure", tbl = "Table", eq = "Equation", sec = "Section" }
local LONG = 16 -- rows from which on a page folds a table; the last of the paper has fewer
local counts = { fig = 0, tbl = 0, eq = 0 }
local sections = {}
local numbers = {} -- by identifier

-- "Figure 3" for fig-name, without a number its own kind's next one; nil for other identifiers.
local function label(identifier, new)
  local kind = identifier:match("^(%l+)%-")
  if not WORDS[kind] then return nil end
  if new then
    counts[kind] = counts[kind] + 1
    numbers[identifier] = tostring(counts[kind])
  end
  return numbers[identifier] and WORDS[kind] .. "\u{a0}" .. numbers[identifier]
end

local function typst(...)
  return pandoc.RawInline("typst", table.concat({ ... }))
end

local function quoted(text)
  return '"' .. text:gsub('[\\"]', "\\%0"):gsub("%s+", " ") .. '"'
end

local function anchor(identifier)
  return pandoc.RawInline("html", '<a id="' .. identifier .. '"></a>')
end

-- ::: {.content-visible when-format="html"}, and its opposite .content-hidden.
local function conditional(div)
  local visible = div.classes:includes("content-visible")
  if not visible and not div.classes:includes("content-hidden") then return nil end
  local attributes = div.attributes
  local here = (attributes["when-format"] or NAME) == NAME and attributes["unless-format"] ~= NAME
  return here == visible and div.content or {}
end

local function section(header)
  if not header.classes:includes("unnumbered") then
    sections[header.level] = (sections[header.level] or 0) + 1
    sections = { table.unpack(sections, 1, header.level) }
    numbers[header.identifier] = table.concat(sections, ".")
    header.content = pandoc.Inlines(numbers[header.identifier] .. " ") .. header.content
  end
  if not TYPST then header.level = header.level + 1 end -- the title is the first heading
  if GFM then header.content:insert(1, anchor(header.identifier)) end -- GitHub drops the identifier
  return header
end

local function numbered(math, identifier)
  label(identifier, true)
  local number, attributes = "(" .. numbers[identifier] .. ")", { id = identifier }
  if TYPST then
    return { pandoc.Span({ typst("#[#set math.equation(numbering: n => [", number, "]);"), math, typst("]") }, attributes) }
  end
  math.text = math.text .. "\\qquad" .. number
  if GFM then return { anchor(identifier), math } end
  attributes.class, attributes.tabindex = "scroll", "0"
  return { pandoc.Span({ math }, attributes) }
end

-- $$ … $$ {#eq-name}
local function equations(inlines)
  local found, i = pandoc.Inlines({}), 1
  while i <= #inlines do
    local math, name = inlines[i], inlines[i + 2]
    local identifier = math.t == "Math" and name and name.t == "Str" and name.text:match("^{#(eq%-[%w-]+)}$")
    found:extend(identifier and numbered(math, identifier) or { math })
    i = i + (identifier and 3 or 1)
  end
  return found
end

-- A figure or a table under its numbered caption.
local function float(identifier, content, caption)
  local name = label(identifier, true)
  caption = pandoc.Inlines({ pandoc.Str(name .. ":"), pandoc.Space() }) .. caption
  if TYPST and content[1].t == "Table" then
    content[1].identifier, content[1].caption = identifier, { long = { pandoc.Plain(caption) } }
    return content
  end
  if GFM then
    content:insert(identifier:match("^tbl") and 1 or #content + 1, pandoc.Para(caption))
    return pandoc.Div(content, { id = identifier })
  end
  if HTML and identifier:match("^tbl%-") then -- whose caption is read before it
    local rows = content[1].t == "Table" and #content[1].bodies[1].body or 0
    local fold, unfold = "", ""
    if rows > LONG then
      fold, unfold = "<details><summary>" .. rows .. " rows</summary>", "</details>"
    end
    local open = pandoc.RawBlock("html", '<figure id="' .. identifier .. '"><figcaption>')
    local rest = pandoc.RawBlock("html", "</figcaption>" .. fold)
    local close = pandoc.RawBlock("html", unfold .. "</figure>")
    return pandoc.Blocks({ open, pandoc.Plain(caption), rest }) .. content .. { close }
  end
  return pandoc.Figure(content, { pandoc.Plain(caption) }, { id = identifier })
end

-- ::: {#tbl-name} with the caption as its last paragraph
local function floating(div)
  local kind = div.identifier:match("^(%l+)%-")
  if kind ~= "tbl" and kind ~= "fig" then return nil end
  local caption = div.content:remove()
  if not caption or caption.t ~= "Para" then
    pandoc.log.warn("the last paragraph of " .. div.identifier .. " should be its caption")
    return nil
  end
  return float(div.identifier, div.content, caption.content)
end

local function figure(fig)
  if not label(fig.identifier) and fig.identifier:match("^fig%-") then
    return float(fig.identifier, fig.content, pandoc.utils.blocks_to_inlines(fig.caption.long))
  end
end

local function image(img)
  local alt = img.attributes["fig-alt"]
  if not alt then return nil end
  img.attributes["fig-alt"] = nil
  img.caption = { pandoc.Str(alt) }
  return TYPST and typst("#image(", quoted(img.src), ", alt: ", quoted(alt), ")") or img
end

-- A formula's own source tells a screen reader what it says.
local function formula(math)
  return TYPST and { typst("#[#set math.equation(alt: ", quoted(math.text), ");"), math, typst("]") } or nil
end

local function reference(cite)
  local found = pandoc.Inlines({})
  for _, citation in ipairs(cite.citations) do
    local kind = citation.id:match("^(%l+)%-")
    if WORDS[kind] then
      local name = label(citation.id)
      if not name then pandoc.log.warn("nothing is named @" .. citation.id) end
      if #found > 0 then found:extend({ pandoc.Str(","), pandoc.Space() }) end
      found:insert(pandoc.Link(name or "?@" .. citation.id, "#" .. citation.id))
    end
  end
  if #found == 0 then return nil end
  if #cite.citations > 1 and #found ~= 3 * #cite.citations - 2 then
    pandoc.log.warn("a citation and a cross-reference share brackets: give each its own")
  end
  return found
end

-- Wide tables scroll in their own box, also by the keyboard.
local function scrolling(tbl)
  return HTML and pandoc.Div({ tbl }, { class = "scroll", tabindex = "0" }) or nil
end

return {
  { Div = conditional },
  { traverse = "topdown", Header = section, Inlines = equations, Div = floating, Figure = figure },
  { Cite = reference, Image = image, Math = formula, Table = scrolling },
}
