-- Links between the documents lead to the same format's.
local ENDINGS = { html = ".html", typst = ".pdf", markdown = ".md", gfm = ".md", commonmark = ".md" }

function Link(link)
  -- Notebooks lie beside the pages, which a PDF may have left.
  if FORMAT:match("typst") and link.target:match("%.ipynb$") then return link.content end
  -- A PDF's links cannot follow the paper when it is published under another name.
  if FORMAT:match("typst") and link.target == "index.qmd" then return link.content end
  for format, ending in pairs(ENDINGS) do
    if FORMAT:match("^" .. format) and link.target:match("^%l+%.qmd") then
      -- A PDF's places cannot be linked to from outside.
      local rest = ending == ".pdf" and "" or link.target:match("#.*$") or ""
      link.target = link.target:match("^%l+") .. ending .. rest
      return link
    end
  end
end

-- What a page shows to somebody who points at it, other formats cannot.
function Span(span)
  if span.attributes.title and not FORMAT:match("html") then return span.content end
end

-- Columns are as wide as what they hold: a writer of Markdown's widths would break numbers.
function Table(tbl)
  tbl.colspecs = tbl.colspecs:map(function(column) return { column[1] } end)
  return tbl
end

-- Whether a figure or a table has nothing to show but a note that says so.
local function empty(div)
  local kind, found = div.identifier:match("^(%l+)%-"), false
  if kind ~= "fig" and kind ~= "tbl" then return false end
  div:walk({ Span = function(span) found = found or span.classes:includes("nothing") end })
  return found
end

-- Wide tables want wide pages; our own template knows by itself.
function Meta(meta)
  if FORMAT:match("typst") and meta.landscape and quarto then
    quarto.doc.include_text("in-header", "#set page(flipped: true)")
  end
end

-- A section that is to be taken in at a glance begins a page.
function Header(header)
  if FORMAT:match("typst") and header.classes:includes("page") then
    return { pandoc.RawBlock("typst", "#pagebreak(weak: true)"), header }
  end
end

-- What has nothing to show goes, unless the text refers to it, and so does a heading over nothing.
function Pandoc(doc)
  local referred = {}
  doc:walk({ Cite = function(cite)
    for _, citation in ipairs(cite.citations) do referred[citation.id] = true end
  end })
  local kept, bare = pandoc.Blocks({}), false -- bare: the last one is the heading of what went
  local function close(level)
    if bare and kept[#kept].level >= level then kept:remove() end
    bare = false
  end
  for _, block in ipairs(doc.blocks) do
    if block.t == "Div" and not referred[block.identifier] and empty(block) then
      bare = bare or #kept > 0 and kept[#kept].t == "Header"
    else
      close(block.t == "Header" and block.level or math.huge)
      kept:insert(block)
    end
  end
  close(0)
  doc.blocks = kept
  return doc
end

-- The answer box in Typst: Quarto's callouts would fetch a package from the network.
function Div(div)
  if FORMAT:match("typst") and div.classes:includes("answer") then
    local open = pandoc.RawBlock("typst",
      '#block(width: 100%, breakable: false, inset: (left: 10pt, rest: 8pt), fill: rgb("#eef5fa"), ' ..
      'stroke: (left: 3pt + rgb("#0072b2")))[')
    local close = pandoc.RawBlock("typst", "]")
    local blocks = pandoc.List({ open })
    blocks:extend(div.content)
    blocks:insert(close)
    return blocks
  end
end
