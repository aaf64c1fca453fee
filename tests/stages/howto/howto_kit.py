"""One small page of each layout: wikiHow's two, eHow's, and a `HowTo` in JSON-LD."""

WIKIHOW = """<!DOCTYPE html><html><head><title>How to Boil Eggs - wikiHow</title>
<link rel="canonical" href="http://www.wikihow.com/Boil-Eggs"></head><body><h1>How to Boil Eggs</h1>
<div id="intro"><p>Eggs are good.</p></div>
<div class="section steps sample"><ol class="steps_list_2"><li><div class="step">Sample.</div></li></ol></div>
<div class="section steps"><h3><div class="altblock">Method 1 of 1:</div>
<span class="mw-headline">On the Stove</span></h3><div id="steps_1" class="section_text">
<ol class="steps_list_2"><li id="step-id-00"><div class="mwimg"><img data-src="/images/1.jpg"></div>
<div class="step"><b class="whb">Add <span class="frac"><sup>1</sup>⁄<sub>4</sub></span> cup of
<b class="whb">salt</b>.</b> Stir.<sup class="reference">[1]</sup><script>x()</script>
<ul><li>Sea salt,</li><li>or rock salt.</li></ul><!-- never --></div></li>
<li id="step-id-01"><video data-src="/v/2 b.mp4" data-poster="/images/2.jpg"></video><img src="/logo.svg">
<div class="step"><b class="whb">Boil.</b> 10&nbsp;min.</div></li></ol></div></div>
<a href="https://creativecommons.org/licenses/by-nc-sa/4.0/">license</a></body></html>"""

PLAIN = """<p>Party crashers are guests.</p><h2><a href="#">edit</a> <span>Steps</span></h2>
<ol><li><b>Keep calm.</b> Breathe.<br/>Count.</li><li>Talk about <b>it</b>.</li></ol>
<h3><span>Asking Them to Leave</span></h3><ol><li>Show the door.<ul><li>Gently.</li></ul></li></ol>
<h2><span>Tips</span></h2><ol><li>No step.</li></ol>"""

EHOW = """<html><head><meta property="og:url" content="http://www.ehow.com/how_1_tea.html"></head><body>
<h1>How to Make Tea</h1><div class="mod step"><div class="stepContent mod"><div class="content lead">
<p>Tea is good.</p></div></div></div><span><span><div class="mod step"><div class="stepContent">
<div class="content"><span class="headline2 head">Things You'll Need:</span><ul><li>Tea</li></ul></div>
</div></div></span></span><span><span><div class="mod step"><div class="stepContent mod">
<div class="content"><span><span class="head">Step 1</span><p>Boil water.</p><p>Wait.</p></span></div>
<figure><img src="//cdn.ehow.com/1.jpg"></figure><figcaption>A kettle</figcaption></div></div></span></span>
<span><div class="mod step"><div class="stepContent mod"><div class="content"><span><p>Pour.</p></span></div>
</div></div></span></body></html>"""

HOW_TO = {
    "@context": "https://schema.org",
    "@type": ["HowTo"],
    "name": "How to Fold",
    "description": "It is <b>easy</b>.",
    "step": [
        {
            "@type": "HowToSection",
            "name": "First part",
            "itemListElement": [
                {"@type": "HowToStep", "name": "Fold it.", "text": "Fold it. Twice.", "image": {"url": "/1.jpg"}},
                {"@type": "HowToStep", "itemListElement": [{"@type": "HowToDirection", "text": "Press &amp; hold."}]},
            ],
        },
        "Done.",
    ],
}


def linked_data(*blocks: str) -> str:
    return "".join(f'<script type="application/ld+json">{block}</script>' for block in blocks)
