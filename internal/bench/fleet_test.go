//go:build bench

package bench

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// Fleet is what a hosting team has: a virtual host for each of many sites, made from the
// same few skeletons. Sites differ by their names, the addresses and ports of their
// backends, limits, which options are on, and by two random things that do not compress: a
// UUID of the deployment and a token of 128 bits. 9 in 10 files have between 1 and 2 KB.
type Fleet struct {
	rng   *rand.Rand
	sites []*site
}

// site is one file of a fleet.
type site struct {
	path, name, domain       string
	kind                     int
	port, limit, timeout     int
	backends                 []string
	deployment, token        string
	compress, strict, limits bool
	revision                 int
}

// siteKinds are what sites' main locations do.
var siteKinds = []string{
	`    location / {
        try_files $uri $uri/ /index.php?$query_string;
    }
    location ~ \.php$ {
        include fastcgi_params;
        fastcgi_pass %[1]s_backend;
        fastcgi_index index.php;
        fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
        fastcgi_read_timeout %[2]ds;
    }
`,
	`    location / {
        proxy_pass http://%[1]s_backend;
        proxy_http_version 1.1;
        proxy_set_header Host $host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_read_timeout %[2]ds;
    }
    location /socket {
        proxy_pass http://%[1]s_backend;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection "upgrade";
    }
`,
	`    location / {
        try_files $uri $uri/ =404;
        expires %[2]dm;
    }
    location /api/ {
        proxy_pass http://%[1]s_backend/;
        proxy_set_header Host $host;
        proxy_set_header X-Real-IP $remote_addr;
    }
`,
}

// NewFleet makes a fleet of n sites. The same seed gives the same fleet.
func NewFleet(n int, seed uint64) *Fleet {
	f := &Fleet{rng: rand.New(rand.NewPCG(seed, uint64(n)))}
	words := strings.Fields(`account archive billing blog booking cart catalog chat checkout cloud content crm data docs events export
		feed forum gallery gateway help images import intranet invoice jobs login mail market media metrics mobile monitor news
		orders partner payment photos portal press pricing queue reports search secure shipping shop signup social static status
		stock store stream support team tickets travel video wallet warehouse wiki`)
	regions := strings.Fields("de fr nl pl uk us-east us-west sg")
	for i := range n {
		s := &site{
			name: fmt.Sprintf("%s-%s-%04d", words[f.rng.IntN(len(words))], words[f.rng.IntN(len(words))], i),
			kind: f.rng.IntN(len(siteKinds)), port: 1024 + f.rng.IntN(60000),
			limit: []int{1, 2, 5, 8, 10, 16, 20, 32, 50, 64, 100}[f.rng.IntN(11)], timeout: 5 * (1 + f.rng.IntN(24)),
			compress: f.rng.IntN(2) == 0, strict: f.rng.IntN(2) == 0, limits: f.rng.IntN(3) == 0,
			deployment: f.uuid(), token: fmt.Sprintf("%016x%016x", f.rng.Uint64(), f.rng.Uint64()),
		}
		region := regions[i*len(regions)/n]
		s.path = fmt.Sprintf("%s/rack-%03d/%s.conf", region, i/perDirectory, s.name)
		s.domain = s.name + "." + region + ".example.net"
		for range 2 + f.rng.IntN(3) {
			s.backends = append(s.backends, f.address())
		}
		f.sites = append(f.sites, s)
	}
	return f
}

func (f *Fleet) uuid() string {
	a, b := f.rng.Uint64(), f.rng.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", a>>32, a>>16&0xffff, a&0xfff, b>>48&0x3fff|0x8000, b&0xffffffffffff)
}

func (f *Fleet) address() string {
	return fmt.Sprintf("10.%d.%d", f.rng.IntN(64), f.rng.IntN(256)) + fmt.Sprintf(".%d", 1+f.rng.IntN(254))
}

// text is the content of a site's file.
func (s *site) text() string {
	id := strings.ReplaceAll(s.name, "-", "_")
	var b strings.Builder
	fmt.Fprintf(&b, "# Managed file, do not edit on the host.\n# site: %s, deployment: %s, revision: %d\n\n", s.name, s.deployment, s.revision)
	fmt.Fprintf(&b, "upstream %s_backend {\n    least_conn;\n", id)
	for i, address := range s.backends {
		fmt.Fprintf(&b, "    server %s:%d max_fails=3 fail_timeout=%ds;\n", address, s.port+i, s.timeout)
	}
	b.WriteString("    keepalive 16;\n}\n\n")
	fmt.Fprintf(&b, "server {\n    listen 80;\n    server_name %[1]s www.%[1]s;\n    return 301 https://%[1]s$request_uri;\n}\n\n", s.domain)
	fmt.Fprintf(&b, "server {\n    listen 443 ssl http2;\n    server_name %[1]s www.%[1]s;\n    root /srv/www/%[2]s/public;\n    index index.html index.php;\n\n", s.domain, s.name)
	fmt.Fprintf(&b, "    ssl_certificate /etc/ssl/sites/%[1]s/fullchain.pem;\n    ssl_certificate_key /etc/ssl/sites/%[1]s/privkey.pem;\n", s.domain)
	fmt.Fprintf(&b, "    access_log /var/log/nginx/%[1]s.access.log main;\n    error_log /var/log/nginx/%[1]s.error.log warn;\n", s.name)
	fmt.Fprintf(&b, "    client_max_body_size %dm;\n    add_header X-Deployment \"%s\" always;\n", s.limit, s.deployment)
	if s.strict {
		b.WriteString("    add_header Strict-Transport-Security \"max-age=31536000; includeSubDomains\" always;\n    add_header X-Frame-Options SAMEORIGIN always;\n")
	}
	if s.compress {
		b.WriteString("    gzip on;\n    gzip_types text/plain text/css application/json application/javascript;\n    gzip_min_length 1024;\n")
	}
	if s.limits {
		fmt.Fprintf(&b, "    limit_req zone=%s burst=%d nodelay;\n", id, s.limit*2)
	}
	b.WriteString("\n")
	fmt.Fprintf(&b, siteKinds[s.kind], id, s.timeout)
	fmt.Fprintf(&b, "    location = /health {\n        access_log off;\n        proxy_set_header X-Health-Token %s;\n        proxy_pass http://%s_backend;\n    }\n}\n", s.token, id)
	return b.String()
}

// Edit changes a line of one site, drawn by chance: a backend that moves, a limit, a
// timeout, or a new deployment. It returns the path and the content.
func (f *Fleet) Edit() (path, text string) {
	s := f.sites[f.rng.IntN(len(f.sites))]
	switch f.rng.IntN(4) {
	case 0:
		s.backends[f.rng.IntN(len(s.backends))] = f.address()
	case 1:
		s.limit = 1 + f.rng.IntN(128)
	case 2:
		s.timeout = 1 + f.rng.IntN(300)
	default:
		s.deployment = f.uuid()
	}
	s.revision++
	return s.path, s.text()
}

// Write writes the fleet's files.
func (f *Fleet) Write(dir string) error {
	for _, s := range f.sites {
		name := filepath.Join(dir, s.path)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, []byte(s.text()), 0o644); err != nil {
			return err
		}
	}
	return nil
}
