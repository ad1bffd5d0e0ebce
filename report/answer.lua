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
