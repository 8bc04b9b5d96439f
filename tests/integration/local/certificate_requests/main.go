// What the API server and its signer make of certificate requests, by their own code: `read` takes requests on standard
// input and says what each would be signed for; `make NODE NAME...` prints a client and a serving request as a kubelet
// of that node and those names makes them.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"net"
	"os"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/cert"
	"k8s.io/kubernetes/pkg/apis/certificates"
)

type request struct {
	Request []byte   `json:"request"` // base64 in JSON, as in the API
	Serving bool     `json:"serving"`
	Usages  []string `json:"usages"`
}

type seen struct {
	Refused       string   `json:"refused"` // by the API server when it is made, or by the signer when it is approved
	CommonName    string   `json:"common_name"`
	Organizations []string `json:"organizations"`
	Names         []string `json:"names"`
	Addresses     []string `json:"addresses"` // in hex
	Key           string   `json:"key"`       // in hex
}

func read(one request) seen {
	parsed, err := certificates.ParseCSR(one.Request)
	if err != nil {
		return seen{Refused: err.Error()}
	}
	if err := parsed.CheckSignature(); err != nil {
		return seen{Refused: err.Error()}
	}
	saw := seen{
		CommonName:    parsed.Subject.CommonName,
		Organizations: parsed.Subject.Organization,
		Names:         parsed.DNSNames,
		Key:           hex.EncodeToString(parsed.RawSubjectPublicKeyInfo),
	}
	for _, address := range parsed.IPAddresses {
		saw.Addresses = append(saw.Addresses, hex.EncodeToString(address))
	}
	validate := certificates.ValidateKubeletClientCSR
	if one.Serving {
		validate = certificates.ValidateKubeletServingCSR
	}
	if err := validate(parsed, sets.NewString(one.Usages...)); err != nil {
		saw.Refused = err.Error()
	}
	return saw
}

func main() {
	if os.Args[1] == "read" {
		var requests []request
		must(json.NewDecoder(os.Stdin).Decode(&requests))
		answers := []seen{}
		for _, one := range requests {
			answers = append(answers, read(one))
		}
		must(json.NewEncoder(os.Stdout).Encode(answers))
		return
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	subject := pkix.Name{Organization: []string{"system:nodes"}, CommonName: "system:node:" + os.Args[2]}
	client, err := cert.MakeCSR(key, &subject, nil, nil)
	must(err)
	template := x509.CertificateRequest{Subject: subject}
	for _, name := range os.Args[3:] {
		if address := net.ParseIP(name); address != nil {
			template.IPAddresses = append(template.IPAddresses, address)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	serving, err := cert.MakeCSRFromTemplate(key, &template)
	must(err)
	must(json.NewEncoder(os.Stdout).Encode(map[string][]byte{"client": client, "serving": serving}))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
