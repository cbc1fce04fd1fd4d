# What Tidemark's `varnish` target asks of a Varnish. Include it in any VCL 4.1, before your own subroutines, as
# a return in yours would else come first:
#
#     vcl 4.1;
#     backend site { … }
#     include "tidemark.vcl";
#
#   PURGE /path?query                          that URL: `Host`, or `x-tidemark-host` where it is sent
#     x-tidemark-mode: invalidate              mark stale and serve while one fetch revalidates; else drop
#   PURGE /  xkey-purge: key key               drop what carries one of these keys in its `xkey` header
#   PURGE /  xkey-softpurge: key key           mark it stale
#   BAN /    x-tidemark-ban-host: regex        drop what matches, by host, by path and query, or by both
#            x-tidemark-ban-url: regex
#   BAN /    x-tidemark-ban: everything        drop all
#
# Every answer says `x-tidemark-purged`: how many objects were dropped (one counts once for each of its keys), or `-`
# where Varnish does not count them, as of a ban. Without it Tidemark takes nothing for done, as a VCL that comes before
# this one may answer PURGE as well. 200, 400 for what cannot be done as asked, 403 for strangers, 405 for headers of the
# other method.
#
# Needs vmod_xkey (varnish-modules). Lists of keys up to 32 KB need
# `-p http_req_hdr_len=36k -p http_req_size=96k -p workspace_client=320k`, and pages with as many keys the same
# of `http_resp_hdr_len`, `http_resp_size` and `workspace_backend`.

import purge;
import std;
import xkey;

# Who may purge: add the addresses of your relays. A proxy on this machine makes every visitor look like
# 127.0.0.1: let it speak the PROXY protocol, or refuse PURGE and BAN there.
acl tidemark_purgers {
	"localhost";
	"127.0.0.1";
	"::1";
}

# One page has several spellings: `%d9` is `%D9`, and `%7E` is `~` (RFC 3986, 6.2.2). From here on it has one of them,
# for the cache, for bans and for your site: escapes in upper case, and none of letters, digits, "-", ".", "_" and "~".
# Dot segments stay: browsers send none, and VCL has no loop to take them out with. So does `%2E` where it would make
# one. What stands behind a "%" that encodes nothing could become an escape with it, and stays too.
sub tidemark_normal_url {
	if (req.url ~ "%([a-f][0-9A-Fa-f]|[0-9A-F][a-f])") {
		set req.url = regsuball(req.url, "%a([0-9A-Fa-f])", "%A\1");
		set req.url = regsuball(req.url, "%b([0-9A-Fa-f])", "%B\1");
		set req.url = regsuball(req.url, "%c([0-9A-Fa-f])", "%C\1");
		set req.url = regsuball(req.url, "%d([0-9A-Fa-f])", "%D\1");
		set req.url = regsuball(req.url, "%e([0-9A-Fa-f])", "%E\1");
		set req.url = regsuball(req.url, "%f([0-9A-Fa-f])", "%F\1");
		set req.url = regsuball(req.url, "%([0-9A-F])a", "%\1A");
		set req.url = regsuball(req.url, "%([0-9A-F])b", "%\1B");
		set req.url = regsuball(req.url, "%([0-9A-F])c", "%\1C");
		set req.url = regsuball(req.url, "%([0-9A-F])d", "%\1D");
		set req.url = regsuball(req.url, "%([0-9A-F])e", "%\1E");
		set req.url = regsuball(req.url, "%([0-9A-F])f", "%\1F");
	}
	if (req.url ~ "%(2[DE]|3[0-9]|4[1-9A-F]|5[0-9AF]|6[1-9A-F]|7[0-9AE])") {
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%2D", "-");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%30", "0");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%31", "1");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%32", "2");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%33", "3");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%34", "4");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%35", "5");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%36", "6");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%37", "7");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%38", "8");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%39", "9");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%41", "A");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%42", "B");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%43", "C");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%44", "D");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%45", "E");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%46", "F");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%47", "G");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%48", "H");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%49", "I");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%4A", "J");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%4B", "K");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%4C", "L");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%4D", "M");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%4E", "N");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%4F", "O");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%50", "P");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%51", "Q");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%52", "R");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%53", "S");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%54", "T");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%55", "U");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%56", "V");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%57", "W");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%58", "X");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%59", "Y");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%5A", "Z");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%5F", "_");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%61", "a");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%62", "b");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%63", "c");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%64", "d");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%65", "e");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%66", "f");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%67", "g");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%68", "h");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%69", "i");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%6A", "j");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%6B", "k");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%6C", "l");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%6D", "m");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%6E", "n");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%6F", "o");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%70", "p");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%71", "q");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%72", "r");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%73", "s");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%74", "t");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%75", "u");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%76", "v");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%77", "w");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%78", "x");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%79", "y");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%7A", "z");
		set req.url = regsuball(req.url, "(?<!%)(?<!%.)%7E", "~");
		if (req.url !~ "^[^?]*/(\.|%2E)(\.|%2E)?([/?]|$)") {
			set req.url = regsuball(req.url, "(?<!%)(?<!%.)%2E", ".");
		}
	}
}

# A name may end in a dot, and is the same then.
sub tidemark_normal_host {
	set req.http.host = regsub(std.tolower(req.http.host), "\.(:[0-9]+)?$", "\1");
}

sub vcl_recv {
	# Ours to set: it ends up in the answer.
	unset req.http.x-tidemark-purged;

	call tidemark_normal_url;

	if (req.method == "PURGE" || req.method == "BAN") {
		# By this the answer is known as ours: set here, as vcl_synth below also runs for a return of another VCL.
		set req.http.x-tidemark-purged = "-";
		if (client.ip !~ tidemark_purgers) {
			return (synth(403, "Forbidden"));
		}
		if (req.method == "BAN") {
			call tidemark_recv_ban;
		}
		call tidemark_recv_purge;
	}

	unset req.http.x-tidemark-host;
	unset req.http.x-tidemark-url;
	unset req.http.x-tidemark-mode;
	unset req.http.x-tidemark-ban;
	unset req.http.x-tidemark-ban-host;
	unset req.http.x-tidemark-ban-url;
	unset req.http.xkey-purge;
	unset req.http.xkey-softpurge;

	# The built-in VCL does the same, but is not reached where a later vcl_recv returns.
	if (req.http.host) {
		call tidemark_normal_host;
	}
}

sub tidemark_recv_purge {
	if (req.http.x-tidemark-ban || req.http.x-tidemark-ban-host || req.http.x-tidemark-ban-url) {
		return (synth(405, "A ban is asked for with BAN"));
	}
	if (req.http.xkey-purge && req.http.xkey-softpurge) {
		return (synth(400, "Either xkey-purge or xkey-softpurge"));
	}
	# Of a header that came in several lines, VCL sees the first alone.
	if (req.http.xkey-purge) {
		std.collect(req.http.xkey-purge, " ");
		set req.http.x-tidemark-purged = xkey.purge(req.http.xkey-purge);
		return (synth(200, "Purged"));
	}
	if (req.http.xkey-softpurge) {
		std.collect(req.http.xkey-softpurge, " ");
		set req.http.x-tidemark-purged = xkey.softpurge(req.http.xkey-softpurge);
		return (synth(200, "Purged"));
	}

	if (req.http.x-tidemark-host) {
		set req.http.host = req.http.x-tidemark-host;
	}
	if (!req.http.host) {
		return (synth(400, "Host is missing"));
	}
	call tidemark_normal_host;
	# A purge must not queue behind a fetch of the page that it purges.
	set req.hash_ignore_busy = true;
	# vmod_purge, which counts and can be soft, works in vcl_hit and vcl_miss only.
	return (hash);
}

sub tidemark_recv_ban {
	if (req.http.xkey-purge || req.http.xkey-softpurge) {
		return (synth(405, "Keys are purged with PURGE"));
	}
	if (req.http.x-tidemark-ban) {
		if (req.http.x-tidemark-ban != "everything") {
			return (synth(400, "x-tidemark-ban knows everything only"));
		}
		# Bans look at obj alone, here and below, so that the lurker can work them off without requests.
		if (std.ban("obj.status != 0")) {
			return (synth(200, "Banned"));
		}
		return (synth(400, std.ban_error()));
	}
	if (!req.http.x-tidemark-ban-host && !req.http.x-tidemark-ban-url) {
		return (synth(400, "Nothing to ban"));
	}

	# std.ban() splits its text at white space and minds double quotes: with either, a pattern could end early and
	# go on as further clauses. Lines sent twice are joined by a space, and so refused as well.
	if (req.http.x-tidemark-ban-host) {
		std.collect(req.http.x-tidemark-ban-host, " ");
		if (req.http.x-tidemark-ban-host ~ {"^$|[\s"]"}) {
			return (synth(400, "A pattern is not empty and has no white space or quotes"));
		}
	}
	if (req.http.x-tidemark-ban-url) {
		std.collect(req.http.x-tidemark-ban-url, " ");
		if (req.http.x-tidemark-ban-url ~ {"^$|[\s"]"}) {
			return (synth(400, "A pattern is not empty and has no white space or quotes"));
		}
	}

	if (req.http.x-tidemark-ban-host && req.http.x-tidemark-ban-url) {
		if (std.ban("obj.http.x-tidemark-host ~ " + req.http.x-tidemark-ban-host
		    + " && obj.http.x-tidemark-url ~ " + req.http.x-tidemark-ban-url)) {
			return (synth(200, "Banned"));
		}
	} else if (req.http.x-tidemark-ban-host) {
		if (std.ban("obj.http.x-tidemark-host ~ " + req.http.x-tidemark-ban-host)) {
			return (synth(200, "Banned"));
		}
	} else {
		if (std.ban("obj.http.x-tidemark-url ~ " + req.http.x-tidemark-ban-url)) {
			return (synth(200, "Banned"));
		}
	}
	return (synth(400, std.ban_error()));
}

# Here and below only what came by our vcl_recv: a VCL before it that returns by itself has not purged what was asked.
sub vcl_hit {
	if (req.method == "PURGE" && req.http.x-tidemark-purged) {
		call tidemark_purge_url;
	}
}

# A miss too: variants of the page, by Vary, may be there nevertheless.
sub vcl_miss {
	if (req.method == "PURGE" && req.http.x-tidemark-purged) {
		call tidemark_purge_url;
	}
}

# The page is marked hit-for-pass: there is nothing to purge, and a PURGE is not for the backend.
sub vcl_pass {
	if (req.method == "PURGE" && req.http.x-tidemark-purged) {
		set req.http.x-tidemark-purged = "0";
		return (synth(200, "Purged"));
	}
}

sub tidemark_purge_url {
	if (req.http.x-tidemark-mode == "invalidate") {
		set req.http.x-tidemark-purged = purge.soft();
	} else {
		set req.http.x-tidemark-purged = purge.hard();
	}
	return (synth(200, "Purged"));
}

sub vcl_backend_response {
	# For bans. To give the origin another Host, use `.host_header` of its backend: a changed bereq.http.host
	# would be noted here.
	set beresp.http.x-tidemark-host = bereq.http.host;
	set beresp.http.x-tidemark-url = bereq.url;

	# Without grace, what was marked stale could not be served while it is revalidated.
	if (beresp.grace < 60s) {
		set beresp.grace = 60s;
	}
}

sub vcl_deliver {
	unset resp.http.xkey;
	unset resp.http.x-tidemark-host;
	unset resp.http.x-tidemark-url;
}

sub vcl_synth {
	if (req.method == "PURGE" || req.method == "BAN") {
		if (req.http.x-tidemark-purged) {
			set resp.http.x-tidemark-purged = req.http.x-tidemark-purged;
		}
		if (resp.status == 405 && req.method == "PURGE") {
			set resp.http.allow = "BAN";
		} else if (resp.status == 405) {
			set resp.http.allow = "PURGE";
		}
		set resp.http.content-type = "text/plain; charset=utf-8";
		set resp.body = resp.reason + {"
"};
		return (deliver);
	}
}
