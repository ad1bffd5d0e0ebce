-- Links between the documents lead to the same format's.
local ENDINGS = { html = ".html", typst = ".pdf", markdown = ".md", gfm = ".md", commonmark = ".md" }

function Link(link)
  for format, ending in pairs(ENDINGS) do
    if FORMAT:match("^" .. format) and link.target:match("^%l+%.qmd") then
      -- A PDF's places cannot be linked to from outside.
      local rest = ending == ".pdf" and "" or link.target:match("#.*$") or ""
      link.target = link.target:match("^%l+") .. ending .. rest
      return link
    end
  end
end

-- The answer box in Typst: Quarto's callouts would fetch a package from the network.
function Div(div)
  if FORMAT:match("typst") and div.classes:includes("answer") then
    local open = pandoc.RawBlock("typst",
      '#block(width: 100%, inset: (left: 10pt, rest: 8pt), fill: rgb("#eef5fa"), ' ..
      'stroke: (left: 3pt + rgb("#0072b2")))[')
    local close = pandoc.RawBlock("typst", "]")
    local blocks = pandoc.List({ open })
    blocks:extend(div.content)
    blocks:insert(close)
    return blocks
  end
end
