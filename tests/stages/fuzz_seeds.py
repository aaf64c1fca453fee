"""Small valid inputs of every format, made up in the forms that were recorded; where changed inputs begin."""

from __future__ import annotations

VTT = (
    "WEBVTT\nKind: captions\nLanguage: en\n\nNOTE made up\n\n1\n00:00:01.000 --> 00:00:03.500 align:start "
    "position:0%\n- <v Ann>Boil the water.</v>\n- Really?\n\n2\n00:00:03.500 --> 00:00:06.000\n[Music] Add "
    "&lt;salt&gt; &amp; stir\n",
    "WEBVTT\n\n00:00:00.000 --> 00:00:02.000\n \nnow<00:00:00.400><c> take</c><00:00:00.800><c> the</c>\n\n"
    "00:00:02.000 --> 00:00:02.010\nnow take the\n \n\n00:00:02.010 --> 00:00:04.000\nnow take the\n"
    "pan<00:00:02.500><c> and</c><00:00:03.000><c> go</c>\n\n00:00:04.000 --> 00:00:04.010\npan and go\n \n",
    "WEBVTT\n\nSTYLE\n::cue { color: red }\n\n00:01.000 --> 00:02.000 line:0\n"
    "<ruby>漢<rt>かん</rt></ruby>字。もう一つ！\n",
)
SRT = (
    "1\n00:00:01,000 --> 00:00:02,000\n{\\an8}<i>One.</i>\n\n2\n00:00:02,500 --> 00:00:04,000\nTwo\\Nlines. 3.5 "
    "cups.\n",
    '1\r\n00:00:01,0 -> 0:0:2,000\r\n<font color="#fff">Hello</font>\r\n2\r\n00:00:02,000 --> 00:00:03,000\r\nYes.\r\n',
)
JSON3 = (
    '{"wireMagic": "pb3", "events": [{"tStartMs": 0, "dDurationMs": 9000, "id": 1, "wpWinPosId": 1}, {"tStartMs": '
    '120, "dDurationMs": 2400, "wWinId": 1, "segs": [{"utf8": "boil"}, {"utf8": " the", "tOffsetMs": 300}, '
    '{"utf8": " water", "tOffsetMs": "600"}]}, {"tStartMs": 2510, "dDurationMs": 10, "wWinId": 1, "aAppend": 1, '
    '"segs": [{"utf8": "\\n"}]}, {"tStartMs": 2520, "dDurationMs": 2000, "segs": [{"utf8": "[Music]"}, {"utf8": '
    '"then stir.", "tOffsetMs": 9}]}]}',
    '{"events": [{"tStartMs": 1000, "dDurationMs": 2000, "segs": [{"utf8": "A whole\\nsentence. And one more"}]}]}',
)
SBV = ("0:00:00.000,0:00:02.550\nlast time we saw a dough\n\n0:00:02.550,0:00:05.339\n>> Now we[br]bake it.\n",)
LRC = ("[ar:Ann]\n[offset:+500]\n[00:12.00]Mix the flour\n[00:15.30][00:45.10]<00:15.30>bake <00:16.00>it\n[01:02]\n",)
TTML = (
    '<?xml version="1.0" encoding="utf-8"?><tt xmlns="http://www.w3.org/ns/ttml" xmlns:ttp="urn:p" '
    'ttp:tickRate="10000000" ttp:frameRate="25"><head><metadata>no</metadata></head><body begin="1s"><div><p '
    'begin="00:00:01.000" end="00:00:03.000">Mix the <span>flour</span>.<br/>Now.</p><p begin="30000000t" '
    'dur="2s"><span '
    'begin="0s">bake</span> <span begin="500ms">it</span></p><p begin="00:00:08:12" end="9.5s">Done &amp; '
    "eat.</p></div>"
    '<div timeContainer="seq"><p dur="1s">One.</p><p dur="2s">Two.</p></div></body></tt>',
)
SRV = (
    '<?xml version="1.0" encoding="utf-8" ?><timedtext format="3"><head><ws id="0"/></head><body><p t="1000" d="2000" '
    'w="1"><s>mix</s><s t="400" ac="0"> the</s><s t="800"> flour</s></p><p t="2990" d="10" a="1">\n</p><p '
    't="3000" d="9">'
    "[Music]</p><p t='5000'>Bake<br/>it.</p></body></timedtext>",
    '<transcript><text start="1.5" dur="2">It&amp;#39;s done.</text><text start="4">Now.</text></transcript>',
    '<timedtext><text t="1000" d="900">mix</text><text t="1900" d="500" append="1"> it</text></timedtext>',
)
ASS = (
    "[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name\nStyle: A\n\n[Events]\nFormat: Layer, Start, End, "
    "Style, Name, MarginL, MarginR, MarginV, Effect, Text\nComment: "
    "0,0:00:00.00,0:00:01.00,A,,0,0,0,,Never.\nDialogue: "
    "0,0:00:01.00,0:00:03.00,A,,0,0,0,,{\\an8}Mix, the{\\i1} flour.{\\i0}\\NNow.\nDialogue: "
    "0,0:00:04.00,0:00:06.00,A,,0"
    ",0,0,,{\\k50}Bake {\\kf100}it{\\p1}m 0 0 l 9 9{\\p0}\n",
)
# Lines of files in other encodings, as characters of one byte each.
CAPTION_BYTES = tuple(
    f"1\n00:00:01,000 --> 00:00:03,000\n{line}\n".encode(encoding).decode("latin-1")
    for line, encoding in (
        ("Ajoutez la crème brûlée à la pâte.", "cp1252"),
        ("Добавьте муку и воду.", "cp1251"),
        ("加入面粉和水。", "gb18030"),
        ("小麦粉を混ぜます。", "shift_jis"),
        ("Don't stir it.", "utf-16-le"),
        ("Für die Soße.", "utf-16"),
        ("Für die Soße.", "utf-8-sig"),
    )
)
DOCUMENT_TOKENS = (
    *("<p begin='1s' end='2s'>word</p>", "<p t='1' d='2'>word</p>", "<text start='1'>word</text>", "<br/>"),
    *("<span>", "</p>"),
    *("begin='9999999999h'", "t='99999999999'", "&nbsp;", "&#0;", "<!DOCTYPE tt [<!ENTITY a 'b'>]>", "&a;", "word "),
    *("Dialogue: 0,0:00:01.00,0:00:02.00,A,,0,0,0,,word\n", "{\\k9}", "{\\p1}", "{", "}", "Format: Text\n"),
    *("[Events]\n"),
    *("0:00:01.000,0:00:02.000\nword\n", "[br]", "[00:01.00]", "[00:01.00]word\n", "<00:01.00>", "[offset:99999]"),
)  # fmt: skip
CUE_TOKENS = (
    *("00:00:01.000 --> 00:00:02.000\n", "00:00:01,000 --> 00:00:02,000\nword\n\n", "-->", "<00:00:01.500>", "<c>"),
    *("</c>", "00:00:01.000 --> 00:00:09.000\nline one\nline two\n\n", "<rt>", "</rt>", "<ruby>", "{\\an8}", "{\\"),
    *("\\N", "[Music]", "[", "]", "♪", ">>", "- ", "NOTE\n", "STYLE\n", "one. ", "。", "!", "&nbsp;", "Mr. "),
    *("WEBVTT\n", "X-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:900000\n", "--&gt;", "-1:00 --> ", "<v Ann", "<00:01.5 "),
    *("2 tbsp. ", "1.\n", "a ", "<v Ann>", "00:", "00:00:01.", "1\n", "99:59:59.999", "漢", "กข"),
)  # fmt: skip
JSON3_TOKENS = (
    '{"tStartMs":1,"dDurationMs":5,"segs":[{"utf8":"a b","tOffsetMs":2}]},',
    *('{"segs":[{"utf8":"\\n"}],"aAppend":1},', '{"utf8":"word "},', '{"utf8":"word ","tOffsetMs":1},', "word "),
    *("\\n", "[Music] ", "{},"),
)  # fmt: skip
PAGES = (
    '<html><head><title>How to Boil: 2 Steps (with Pictures) - wikiHow</title><link rel="canonical" '
    'href="https://www.wikihow.com/Boil"></head><body><h1>How to Boil</h1><div '
    'id="mf-section-0"><p>Intro.</p></div><div class="section steps"><h3><div class="altblock">Part 1</div><span '
    'class="mw-headline">Water</span></h3><div class="section_text"><ol class="steps_list_2"><li '
    'id="step-id-00"><div class="step"><b class="whb">Heat <a>it</a>.</b> Use 1<sup>1</sup>⁄<sub>2</sub> cups<sup '
    'class="reference">[1]</sup><script>x()</script></div><div class="content"><img data-src="/images/a '
    'b.jpg"><video data-src="/7/7a/x y.mp4" data-poster="/p.jpg"></video></div></li><li id="step-id-00"><div '
    'class="step"><b class="whb">Heat <a>it</a>.</b> Use 1<sup>1</sup>⁄<sub>2</sub> cups<sup '
    'class="reference">[1]</sup><script>x()</script></div><div class="content"><img data-src="/images/a '
    'b.jpg"><video data-src="/7/7a/x y.mp4" data-poster="/p.jpg"></video></div></li></ol></div></div></body></html>',
    "<h1><a>How to Fish</a></h1><p>Lead.</p><div><h2>[<a>edit</a>] "
    '<span>Steps</span></h2><h3>Way</h3><ol><li><b>Cast.</b> <div class="thumb"><img '
    'src="http://x/y.png"></div>Wait.<ul><li>long</li></ul></li><li>Reel.</li></ol></div><h2>Tips</h2>',
    '<div class="mod step"><div class="stepContent"><div class="content '
    'lead"><p>Lead.</p></div></div></div><span><div class="mod step"><div class="stepContent"><figure><img '
    'src="/a.jpg"></figure><div class="content"><span class="head">Things You\'ll '
    'Need</span><ul><li>Egg</li></ul></div></div></div></span><div class="mod step"><div class="stepContent"><div '
    'class="content"><span class="head">Step 1</span><p>Crack it.</p></div></div></div>',
    '<div id="intro"><p id="method_toc">Two Methods:<a>A</a></p><p>Lead.</p></div><h2 id="x_head"><a class="edit">Edit'
    '</a><span>Pasos</span></h2><div id="x"><h3><span>Method 1 of 2: A</span></h3><ol class="steps_list_2"><li><div '
    'class="step_num">1</div><div class="mwimg"><img src="/1.jpg"></div><b class="whb">Cut</b>. Now.</li></ol></div>',
    # Deeper than lxml may nest it.
    "<h2>Steps</h2><ol><li><b>Cast.</b> Wait.</li></ol><ol>" + '<li class="comment"><div><p>No.</li>' * 60 + "</ol>",
)
PAGE_TOKENS = (
    *("</li>", "</div>", "<div>", "<li>", "<b>", "<sup>", "<ol>", "<script>", "<h2>Steps</h2>", "<video>"),
    "<img src=x>",
    *('<div class="section steps"><ol class="steps_list_2">', '<div class="step">'),
    (
        '<li id="step-id-00"><div class="step"><b class="whb">Heat <a>it</a>.</b> Use 1<sup>1</sup>⁄<sub>2</sub> '
        'cups<sup class="reference">[1]</sup><script>x()</script></div><div class="content"><img '
        'data-src="/images/a b.jpg"><video data-src="/7/7a/x y.mp4" data-poster="/p.jpg"></video></div></li>'
    ),
    *('<b class="whb">', "<ol><li>", '<div class="mod step"><div class="stepContent"><div class="content">'),
    *("<figure>", '<span class="head">Step 1</span>', "<sup>1</sup>/"),
    *('<a href="https://creativecommons.org/licenses/by/4.0">', "<h1>", "<p>word ", "<table><tr><td>", "<svg>"),
    *('<div class="sample">', "<template>", "<noscript>", "<plaintext>", "<textarea>", "<style>", "<title>"),
    *("<select>", " x=y", "<frameset>", "<?xml version='1.0' encoding='utf-16'?>", "<!DOCTYPE html>"),
    *("<base href='//[x'>", "<ul><li>", "word ", "<li><div></li>", "<dd><div>", "</table>", "<td>", '="', "<a ='"),
    *('<h3><span class="mw-headline">Method 1 of 2: ', '<div class="step_num">1</div>', '<p id="method_toc">'),
)  # fmt: skip
NESTED = (
    '<div class="section steps"><ol class="steps_list_2"><li><div class="step">',
    '<div class="mod step"><div class="stepContent"><div class="content">',
    '<div class="content">',
    "<sup>",
    "<h2><span>",
)
AROUND_PAGES = (
    ("<html><body><h1>x</h1>", ""),
    ('<div class="section steps"><ol class="steps_list_2"><li><div class="step">', ""),
    ("<h2>Steps</h2><ol><li>", ""),
    ('<div class="mod step"><div class="stepContent"><div class="content">', ""),
    ("<p>", "</p>"),
    ("<a href='", "'>"),
    ("<", ""),
    ("<!--", ""),
    ("<script>", ""),
    ("<title>", ""),
)
HOW_TO = (
    '{"@context": "http://schema.org", "@type": "HowTo", "name": "Boil an Egg", "description": "<p>How.</p>", '
    '"step": [{"@type": "HowToSection", "name": "Water", "itemListElement": [{"@type": "HowToStep", "name": '
    '"Heat", "text": "Heat 1<sup>1</sup>\\u2044<sub>4</sub> l.", "image": {"url": "/a.jpg"}}, {"@type": '
    '"HowToStep", "itemListElement": [{"@type": "HowToDirection", "text": "Wait &amp; see."}]}]}, {"@type": '
    '"HowToStep", "text": "Eat.", "video": [{"contentUrl": "https://x/y.mp4"}]}]}',
    '{"@graph": [{"@type": ["Recipe", "x"], "recipeInstructions": ["Mix.", {"@type": "ListItem", "item": {"text": '
    '"Bake."}}]}]}',
    '<!-- //<![CDATA[ {"@Type": "schema:HOWTO", "Step": [{"@id": "#1"}, {"Name": "Step 1", "Text": "1. Mix\\n2. Go"}, '
    '{"name": "Bake the…", "description": "Bake the cake."},]}; {"@id": "#1", "text": [{"@value": "Eat."}]} //]]> -->',
    '{"@type": "HowTo", "step": {"@type": "HowToSection", "steps": "<ol><li>Mix.</li><li>Bake.</li></ol>"}}',
)
HOW_TO_TOKENS = (
    *('"Stir.",', '{"text":"Stir."},', '{"name":"x","itemListElement":["a",', "<b", "<p>", "&lt;b", "word "),
    *('"@graph":[', "/*", "*/", "//", "<!--", ";", ",]", '{"@id":"#1"},', "&quot;", '{"name":"Step 1","text":"a"},'),
)  # fmt: skip
AROUND_HOW_TO = (
    ('{"@type":"HowTo","step":[', '"x"]}'),
    ('{"@type":"HowTo","step":["', '"]}'),
    ('{"@type":"HowTo","name":"', '","step":["x"]}'),
    ('{"@graph":[', '{"@type":"HowTo","step":["x"]}]}'),
    ("<![CDATA[", "]]>"),
)
BODIES = (
    "text/html; charset=iso-8859-1\n<meta charset='iso-8859-1'><p>café",
    "text/html; charset=\"utf-16\"\n<?xml version='1.0' encoding='koi8-r'?><p>\ud800",
    "\n<meta http-equiv='content-type' content='text/html; charset=shift_jis'>\udc80 <title>Just a "
    "moment...</title> cf-chl",
)
DESCRIPTIONS = (
    "Full article: https://www.wikihow.com/Boil-an-Egg (with pictures).\nSubscribe: http://bit.ly/abc\n"
    "www.ehow.com/how_123_x.html",
    "Read more here\nhttps://bit.ly/3xYz, https://www.youtube.com/redirect?q=https%3A%2F%2Fes.wikihow.com%2FX&v=1 "
    "m.wikihow.com/Y",
    "See http://[::1]:80/x https://a:b@wikihow.com/Z?x=1#y and sample.invalid "
    "https://sample.invalid/wikihow/Thing-(1)!",
)
INFO = (
    '{"id": "aaaaaaaaaaa", "extractor": "youtube", "webpage_url": "https://www.youtube.com/watch?v=aaaaaaaaaaa", '
    '"title": "How to Boil", "description": "Article: https://www.wikihow.com/Boil", "channel": null, "uploader": '
    '"Ann", "channel_id": "UCaaaaaaaaaaaaaaaaaaaaaa", "duration": 95, "view_count": 60000, "upload_date": '
    '"20240220", "language": "en", "live_status": "not_live", "media_type": "video", "availability": "public", '
    '"license": null, "heatmap": [{"start_time": 0.0, "end_time": 9.5, "value": 0.0}, {"start_time": 9.5, '
    '"end_time": 19.0, "value": 0.1111111111111111}, {"start_time": 19.0, "end_time": 28.5, "value": '
    '0.2222222222222222}, {"start_time": 28.5, "end_time": 38.0, "value": 0.3333333333333333}, {"start_time": '
    '38.0, "end_time": 47.5, "value": 0.4444444444444444}, {"start_time": 47.5, "end_time": 57.0, "value": '
    '0.5555555555555556}, {"start_time": 57.0, "end_time": 66.5, "value": 0.6666666666666666}, {"start_time": '
    '66.5, "end_time": 76.0, "value": 0.7777777777777778}, {"start_time": 76.0, "end_time": 85.5, "value": '
    '0.8888888888888888}, {"start_time": 85.5, "end_time": 95.0, "value": 1.0}], "chapters": [{"start_time": 0.0, '
    '"end_time": 9.5, "title": "Start"}, {"start_time": 0.0, "end_time": 9.5, "title": "Start"}], "subtitles": '
    '{"live_chat": [{"ext": "json"}], "de-CcQ45jRV4-E": [{"ext": "vtt", "url": "https://x/y?lang=de"}]}, '
    '"automatic_captions": {"en-orig": [{"ext": "json3", "url": "https://x/api"}, {"ext": "srv1", "url": '
    '"https://x"}], "fr": [{"ext": "vtt", "url": "https://x/api?tlang=fr"}]}}',
    '{"id": "b", "heatmap": null, "subtitles": {"en": [{"ext": "srt", "data": "1\\n00:00:01,000 --> '
    '00:00:02,000\\nHi"}]}}',
)
INFO_TOKENS = (
    *('{"start_time": 0.0, "end_time": 9.5, "title": "Start"},', '{"start_time":1,"end_time":2,"value":0.5},'),
    *("https://www.wikihow.com/X ", "word "),
)  # fmt: skip
AROUND_INFO = (
    ('{"heatmap":null,"description":"', '"}'),
    ('{"heatmap":[', '{}],"chapters":null}'),
    ('{"heatmap":null,"chapters":[', "{}]}"),
    ('{"heatmap":null,"subtitles":{"en-', '":[{"ext":"vtt","data":"x"}]}}'),
)
ERRORS = (
    "\x1b[0;31mERROR:\x1b[0m [youtube] aaaaaaaaaaa: Private video. Sign in if you've been granted access to this video",
    "ERROR: [youtube] a: Sign in to confirm you’re not a bot. Use --cookies; please report this issue on "
    "https://github.com/x",
    "[youtube:tab] @x: Unable to download API page: HTTP Error 503: Service Unavailable (caused by <HTTPError 503>)",
    "[youtube] a: Video unavailable. This video contains content from X, who has blocked it in your country",
)
FFMPEG = (
    "Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'file:/tmp/a.mp4':\n  Metadata:\n    title           : Boil: an Egg\n"
    "  Duration: 00:00:24.03, start: 0.000000, bitrate: 50 kb/s\n  Stream #0:0[0x1](und): Video: h264 (High) (avc1 "
    "/ 0x31637661), yuv420p(progressive), 426x240 [SAR 1:1 DAR 71:40], 40 kb/s, 10 fps, 10 tbr, 10240 tbn "
    "(default)\n      Metadata:\n        handler_name    : VideoHandler\n      Side data:\n        displaymatrix: "
    "rotation of -90.00 degrees\n  Stream #0:1[0x2](und): Audio: aac (LC) (mp4a / 0x6134706D), 22050 Hz, mono, "
    "fltp, 31 kb/s (default)\nAt least one output file must be specified\n",
    "[matroska,webm @ 0x55d0c0] Unknown entry 0x80\nInput #0, matroska,webm, from 'x.mkv':\n  Duration: N/A, "
    "start: -0.007000, bitrate: N/A\n  Stream #0:0: Video: vp9 (Profile 0), yuv420p(tv), 1920x1080, SAR 1:1 DAR "
    "16:9, 29.97 fps, 1k tbn\n  Stream #0:1: Video: mjpeg (Baseline), yuvj420p(pc), 600x600, 90k tbr (attached "
    "pic)\n  Stream #0:2: Audio: opus, 48000 Hz\n",
    "[mov,mp4 @ 0x5583] moov atom not found\n[in#0 @ 0x5583] Error opening input: Invalid data found when "
    "processing input\nError opening input file file:/tmp/a.mp4.\nError opening input files: Invalid data found "
    "when processing input\n",
    "Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'file:/tmp/a.mp4':\n  Metadata:\n    title           : Boil: an Egg\n"
    "  Duration: 00:00:02.00, start: 0.1, bitrate: 1 kb/s\n  Stream #0:0: Video: h264, none, 1k fps, 90k tbr\n",
)
FFMPEG_TOKENS = (
    *("  Stream #0:0: Video: h264, yuv420p, 16x16, 25 fps\n", "  Stream #0:1: Audio: aac, 8000 Hz\n"),
    *("  Duration: ", ", start: ", "        displaymatrix: rotation of 90.00 degrees\n", ", 99999999999x1", "1."),
    *(" fps", " Hz", "Input #0, ", ", from ", "[SAR 0:1 ", "[mov @ 0x1] ", "[error] ", ", 1x1"),
    *("    title           : x\n", ", 1 fps"),
)  # fmt: skip
FILE_LINES = (
    '{"video": "a.mp4", "video_id": "a", "title": "Boil", "description": "How.", "captions": "a.srt", "article": '
    '"a.html", "view_count": 9, "heatmap": [{"start_s": 0, "end_s": 1.5, "value": 0.5}, {"start_time": 2, '
    '"end_time": 3, "value": 1}], "license": "CC BY"}',
    '{"video": "list.jsonl", "article": "https://www.wikihow.com/X"}',
    '{"video": "sub/b c.mp4"}',
)
ID_LINES = (
    '{"video_id": "aaaaaaaaaaa", "article_url": "https://www.wikihow.com/X", "steps": ["One.", {"text": "Two.", '
    '"img": "/i.jpg"}]}',
    '{"youtube_id": "yHKZh5uW-gg", "slug": "X", "title": "Boil", "steps": [{"text": "a", "headline": "b", "vid": '
    '"/7/x y.mp4"}]}',
)
TABLES = (
    'video_id,youtube_id,title,views\nvideo_1,aaaaaaaaaaa,"Tie, ""fast""\na knot",5\nvideo_2,yHKZh5uW-gg,x,6\n',
    "sep=;\r\nTitle;Video ID;article_url\r\nBoil;aaaaaaaaaaa;https://www.wikihow.com/X\r\n;yHKZh5uW-gg;\r\n",
)
ARRAYS = ('["aaaaaaaaaaa",\n {"youtube_id": "yHKZh5uW-gg", "article": "https://www.wikihow.com/X", "steps": ["a"]}]',)
TEXTS = ("# mine\naaaaaaaaaaa\nhttps://youtu.be/yHKZh5uW-gg?t=1\n\nyoutube aaaaaaaaaab\n",)
MANIFESTS = (
    'name: mine\nsources:\n  - channel: "@wikihow"\n  - {ids: list.jsonl}\nselect: {min_views: 5, tabs: [videos, '
    "shorts]}\ncaptions: {languages: [en, de]}\n",
    'sources: [{files: videos.jsonl}]\nfeatures: {fps: 2, clip: {weights: "seed:0"}, split: {train: 0.5, val: 0.3, '
    "test: 0.2}}\nlimits: {row_timeout_s: 60, max_attempts: 2}\n",
    "sources:\n- channel: https://sample.invalid/@x\ncrawl:\n  seconds_between_requests: 0\n  yt_dlp: {proxy: &p "
    "socks5://a, x: *p}\nresources: {frames: {gpus: auto, workers: 2}}\n",
)
YAML_TOKENS = (
    *("- a\n", "a: b\n", "? ", "&a ", "*a", "<<: ", "!!int ", "!!float x", "!!binary "),
    *("!!python/object:os.system ", "2001-99-99", "0b_", "1:2:3", ".inf", ".nan", "~", "|\n ", ">-\n", "---\n"),
    *("...\n", "%YAML 9.9\n", "{a: ", "[a, ", "# x\n", "0o9", "=", "yes", "1e3", "  ", "'x': "),
    *("crawl: {yt_dlp: &a {b: *a}}\n", "sources: &s [*s]\n", "&x [*x]"),
)  # fmt: skip
ROBOTS = (
    "User-agent: *\nDisallow: /*?\nAllow: /*.php?title=*&x$\nCrawl-delay: 5\n\nUser-agent: vsumdata\nUser-agent: "
    "other/1.0\nDisallow:\n",
    "\ufeffuser-agent: *  # all\r\nDisallow: /Special:\r\nAllow: /%7Ea%2fb\r\nSitemap: https://x\r\nCrawl-delay: "
    "0.5\r\n",
)
