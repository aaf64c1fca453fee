"""Messages of yt-dlp and youtube-dl as people saw them: text, class, where. Ids and names of holders are made up.

A source is an issue of yt-dlp (`#123`), of another repository (`owner/name#123`), a recorded answer of YouTube, or the
file of yt-dlp 2026.10.26 that words the message. WORDING: no public report was found.
"""

from __future__ import annotations

VIDEO, TAB = "extractor/youtube/_video.py", "extractor/youtube/_tab.py"
RECORDED, WORDING = "recorded answer", "YouTube's wording"
ISSUE = "; please report this issue on  https://github.com/yt-dlp/yt-dlp/issues?q= , filling out the template."
WARNED = "Some formats may be missing. Ensure you have a supported JavaScript runtime and challenge solver script"
LIMITED = "has been rate-limited by YouTube for up to an hour. It is recommended to use `-t sleep` to add a delay"
LOGIN = "Use --cookies-from-browser or --cookies for the authentication. See  https://github.com/yt-dlp/yt-dlp/wiki/FAQ"
SKIPPED = "Some web client https formats have been skipped as they are missing a url. "

SEEN: tuple[tuple[str, str, str], ...] = (
    # The video's own state.
    ("[youtube] abc: This video is private", "private", RECORDED),
    (
        "ERROR: [youtube] abcdefghijk: Private video. Sign in if you've been granted access to this video",
        "private",
        "#2027",
    ),
    (
        "ERROR: Private video\nSign in if you've been granted access to this video",
        "private",
        "ytdl-org/youtube-dl#30146",
    ),
    (f"[youtube] abc: Private video. Sign in if you’ve been granted access to this video. {LOGIN}", "private", "#2804"),
    (
        "ERROR: [youtube] abc: This video is available to this channel's members on level: Assistant (or any higher "
        "level). Join this channel to get access to members-only content and other exclusive perks.",
        "members_only",
        "#14949",
    ),
    ("This video is available to this channel’s members on level: Private video!", "members_only", "#16516"),
    (
        "ERROR [youtube] abc This video is available to this channel's members on level X",
        "members_only",
        "fe80Grau/ytdlp2STRM#54",
    ),
    (
        "ERROR: Join this channel to get access to members-only content like this video, and other exclusive perks.",
        "members_only",
        "ytdl-org/youtube-dl#29928",
    ),
    ("This video is only available to Music Premium members", "members_only", RECORDED),
    ("ERROR: [youtube] abc: This video requires payment to watch.", "members_only", WORDING),
    (
        "[youtube] abc: This video is only available for registered users. Use --username",
        "members_only",
        "extractor/common.py",
    ),
    ("This video may be inappropriate for some users.", "age_restricted", RECORDED),
    (
        f"[youtube] abc: Sign in to confirm your age. This video may be inappropriate for some users. {LOGIN}",
        "age_restricted",
        VIDEO,
    ),
    ("This video is age-restricted and only available on YouTube", "age_restricted", VIDEO),
    (
        "ERROR: abc: YouTube said: Unfortunately, this video is not available in your country because it could contain "
        "music from UMG, for which we could not agree on conditions of use with GEMA.",
        "region",
        "MusicGenerator/mumble-ruby-pluginbot#11",
    ),
    (
        "ERROR: YouTube said: The uploader has not made this video available in your country." + ISSUE,
        "region",
        "ytdl-org/youtube-dl#942",
    ),
    (
        "[youtube] abc: Video unavailable. The uploader has not made this video available in your country",
        "region",
        "ytdl-org/youtube-dl#1507",
    ),
    (
        "The uploader has not made this video available in your country\nThis video is available in Chad.\nYou might "
        "want to use a VPN or a proxy server (with --proxy) to workaround.",
        "region",
        "extractor/common.py",
    ),
    (
        "Video unavailable. This video contains content from ZDFE.drama, who has blocked it in your country on "
        "copyright grounds",
        "region",
        "#2804",
    ),
    (
        "This video contains content from SME, who has blocked it on copyright grounds.",
        "region",
        "0xced/XCDYouTubeKit#215",
    ),
    (
        "This video contains content from WMG, who has blocked it in your country on copyright grounds.",
        "region",
        "FreeTubeApp/FreeTube#76",
    ),
    (
        "Video unavailable. This video contains content from Private Video, who has blocked it in your country",
        "region",
        "chelaxian/tg-ytdlp-bot#176",
    ),
    ("ERROR: [youtube+GetPOT] abcdefghijk: Premieres in 6 hours", "upcoming", "jmbannon/ytdl-sub#1323"),
    (
        "ERROR: [youtube+GetPOT] abcdefghijk: This live event will begin in 2 days.",
        "upcoming",
        "jmbannon/ytdl-sub#1323",
    ),
    ("[youtube] abc: Premiere will begin shortly", "upcoming", WORDING),
    ("[youtube:tab] @name: The channel is not currently live", "live", "utils/_utils.py"),
    ("ERROR: This video is unavailable.", "removed", "ytdl-org/youtube-dl#16433"),
    ("ERROR: [youtube] abc: This video is not available", "removed", RECORDED),
    ("ERROR: Video unavailable\nThis video is not available", "removed", "ytdl-org/youtube-dl#28613"),
    ("ERROR: abcdefghijk: YouTube said: This video is not available.", "removed", "ytdl-org/youtube-dl#6401"),
    (
        "ERROR: abcdefghijk: YouTube said: The uploader has not made this video available.",
        "removed",
        "ytdl-org/youtube-dl#4475",
    ),
    ("ERROR: Video unavailable\nThis video has been removed by the uploader.", "removed", "vididataset/VIDI#1"),
    (
        "ERROR: Video unavailable\nThis video is no longer available because the YouTube account associated with this "
        "video has been terminated.",
        "removed",
        "vididataset/VIDI#1",
    ),
    (
        "[youtube] This video has been removed for violating YouTube's Terms of Service",
        "removed",
        "jely2002/youtube-dl-gui#554",
    ),
    (
        "[youtube] abc: Video unavailable. \nThis video is no longer available due to a copyright claim by WMG",
        "removed",
        "Unrud/video-downloader#183",
    ),
    (
        "Video unavailable. This video is no longer available because the uploader has closed their YouTube account",
        "removed",
        WORDING,
    ),
    ("Video unavailable. This video isn't available anymore", "removed", WORDING),
    ("[youtube] abc: This live stream recording is not available.", "removed", WORDING),
    ("[youtube:tab] @name: YouTube said: This channel was removed because it violated our guidelines.", "removed", TAB),
    ("[youtube:tab] @name: This channel does not have a shorts tab", "removed", TAB),
    ("[youtube:tab] @name: YouTube said: This channel does not exist.", "removed", TAB),
    ("[youtube:tab] @name: Failed to resolve url (does the playlist exist?)", "removed", TAB),
    ("[youtube:tab] @name: Unable to download webpage: HTTP Error 404: Not Found", "removed", TAB),
    ("ERROR: [youtube] abc: Failed to extract any player response" + ISSUE, "no_answer", VIDEO),
    ("ERROR: [youtube] abc: This video is DRM protected", "no_formats", "extractor/common.py"),
    ("ERROR: [youtube] abc: No video formats found!" + ISSUE, "no_formats", "YoutubeDL.py"),
    (
        "[youtube] abc: Requested format is not available. Use --list-formats for a list of available formats",
        "no_formats",
        "#14606",
    ),
    # Moods: the video plays in a browser.
    ("ERROR: [youtube] abc: Video unavailable. This content isn’t available.", "unavailable", "#14095"),
    ("ERROR: [youtube] abc: Video unavailable. This content isn't available.", "unavailable", "#15767"),
    ("Video unavailable. Playback on other websites has been disabled by the video owner", "unavailable", "#17497"),
    (
        "ERROR: abcdefghijk: YouTube said: This video contains content from Mosfilm, who has blocked it from display "
        "on this website.",
        "unavailable",
        "ytdl-org/youtube-dl#4195",
    ),
    ("ERROR: [youtube] abc: The page needs to be reloaded.", "unavailable", "#17405"),
    ("ERROR: [youtube] abc: The page needs to be reloaded.. The page needs to be reloaded.", "unavailable", "#16504"),
    (
        "ERROR: [youtube] abc: The following content is not available on this app.. "
        "Watch on the latest version of YouTube.",
        "unavailable",
        "#10108",
    ),
    ("ERROR: [youtube] abc: Video unavailable", "unavailable", "#17702"),
    ("yt-dlp failed: ERROR: [youtube] <redacted>: Video unavailable", "unavailable", "yattee/yattee-server#16"),
    ("Video unavailable. This video is not available on this device", "unavailable", WORDING),
    ("Video unavailable. Sentences that nobody has seen yet", "unavailable", "FIELD: any other one"),
    ("ERROR: [youtube] abc: This live event has ended.", "unavailable", "#11218"),
    ("[youtube] abc: We're processing this video. Check back later.", "unavailable", WORDING),
    (f"ERROR: [youtube] abc: Please sign in. {LOGIN}", "unavailable", "#11201"),
    (
        "[youtube] -Igp-TM1MOw: Get the best YouTube experience. Sign in to save videos, subscribe, and more",
        "unavailable",
        "#9899",
    ),
    ("[youtube] abc: Please try again later", "unavailable", "chelaxian/tg-ytdlp-bot#446"),
    # The host asks to slow down.
    (f"ERROR: [youtube] abc: Sign in to confirm you’re not a bot. {LOGIN}", "throttled", "#10798"),
    (
        "Sign in to confirm you're not a bot. This helps protect our community. Learn more",
        "throttled",
        "ErrorFlynn/ytdlp-interface#181",
    ),
    (
        f"Video unavailable. This content isn't available, try again later. The current session {LIMITED}",
        "throttled",
        "neosubhamoy/neodlp#40",
    ),
    (
        f"This content isn’t available, try again later. Your account {LIMITED}",
        "throttled",
        "toolforge/video2commons#288",
    ),
    (
        "ERROR: Unable to download video subtitles for 'en': HTTP Error 429: Too Many Requests",
        "throttled",
        "jely2002/youtube-dl-gui#676",
    ),
    (
        "[youtube] abc: Unable to download API page: HTTP Error 429: Too Many Requests (caused by <HTTPError 429>)",
        "throttled",
        "networking/exceptions.py",
    ),
    (
        "ERROR: unable to download video info webpage: HTTP Error 402: Payment Required (caused by HTTPError())",
        "throttled",
        "ytdl-org/youtube-dl#12562",
    ),
    ("[youtube] abc: Your account has been rate-limited by YouTube", "throttled", "#12958"),
    ("[youtube] abc: Too Many Requests", "throttled", "networking/exceptions.py"),
    ("All player responses are invalid. Your IP is likely being blocked by Youtube", "throttled", VIDEO),
    ("Please wait. YouTube is requiring a captcha challenge before playback", "throttled", VIDEO),
    # This client, network or account.
    (
        "Video unavailable. This video is restricted. Please check the Google Workspace administrator and/or the "
        "network administrator restrictions.",
        "network",
        "#15168",
    ),
    (
        "WARNING: [youtube] No supported JavaScript runtime could be found. Only deno is enabled by default",
        "runtime",
        "axcore/tartube#800",
    ),
    (f"WARNING: [youtube] abc: n challenge solving failed: {WARNED}", "challenge", "fqscfqj/Y2A-Auto#78"),
    (f"WARNING: [youtube] abc: Signature solving failed: {WARNED}", "challenge", VIDEO),
    (
        "WARNING: [youtube] abc: nsig extraction failed: Some formats may be missing",
        "challenge",
        "AnthonyGress/Youtube-Downloader#16",
    ),
    (
        "WARNING: [youtube] abc: Signature extraction failed: Some formats may be missing",
        "challenge",
        "tubearchivist/tubearchivist#1010",
    ),
    (
        '[youtube] [jsc] Error solving n challenge request using "deno" provider: Uncaught (in promise)',
        "challenge",
        "#16256",
    ),
    ('[youtube] [jsc] Error solving 2 challenge requests using "deno" provider', "challenge", "#15897"),
    (
        f"[youtube] abc: {SKIPPED}YouTube is forcing SABR streaming for this client.",
        "sabr",
        "AnthonyGress/Youtube-Downloader#16",
    ),
    (
        f"[youtube] abc: {SKIPPED}YouTube may have enabled the SABR-only or Server-Side Ad Placement experiment",
        "sabr",
        "openzim/youtube#430",
    ),
    (f"[youtube] abc: {SKIPPED}See  https://github.com/yt-dlp/yt-dlp/issues/12482  for more details", "sabr", "#17666"),
    ("[youtube] [jsc:deno] No usable challenge solver lib script available", "challenge", "jsc/_builtin/ejs.py"),
    ("[youtube] abc: mweb client https formats require a GVS PO Token which was not provided.", "po_token", "#17013"),
    ("[youtube] Unable to fetch GVS PO Token for web client: Missing required Visitor Data.", "po_token", "#16821"),
    ("Only images are available for download. use --list-formats to see them", "streams", "franklioxygen/MyTube#160"),
    ("The current session may have an experiment that applies DRM to all videos on the tv client.", "drm", "#12563"),
    # Between this machine and the host.
    ("ERROR: unable to download video data: HTTP Error 403: Forbidden", "transient", "#17013"),
    ("ERROR: The downloaded file is empty", "transient", "toolforge/video2commons#288"),
    ("[youtube] abc: Unable to download API page: HTTP Error 403: Forbidden", "transient", "#17681"),
    ("Incomplete data received", "transient", "extractor/youtube/_base.py"),
    ("The read operation timed out", "transient", "networking/exceptions.py"),
    (
        "[youtube] abc: Unable to download webpage: HTTP Error 503: Service Unavailable",
        "transient",
        "w0d4/yt-backup#48",
    ),
    (
        "Failed to resolve 'www.youtube.com' ([Errno -3] Temporary failure in name resolution)",
        "transient",
        "networking/exceptions.py",
    ),
    (
        "[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol",
        "transient",
        "networking/exceptions.py",
    ),
    # Nobody has seen these.
    ("something entirely new", "unknown", "made up"),
    ("ERROR: [youtube] abc: KeyError('videoDetails')" + ISSUE, "unknown", "made up"),
    ("", "unknown", "made up"),
)
