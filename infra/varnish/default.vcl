vcl 4.1;

# The site behind it, by its name in compose. `.host_header = "www.example.com";` sends it another Host.
backend site {
	.host = "site";
	.port = "8790";
}

include "./tidemark.vcl";
