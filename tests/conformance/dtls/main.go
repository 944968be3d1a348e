// A DTLS 1.2 server and a client of it, with connection ids (RFC 9146): peers of the monitor's tests.
//
//	client server ADDRESS PREFIX   says "listening PORT"; issues the ids PREFIX00, PREFIX01, ... (hex) and echoes
//	client client ADDRESS          says "connected"; sends each line of its stdin, and says what comes back
//
// The client asks for no id of its own, as a device does that only the server must recognise.
package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"sync/atomic"

	"github.com/pion/dtls/v3"
)

var key = dtls.WithPSK(func([]byte) ([]byte, error) { return []byte("not a secret"), nil })
var suites = dtls.WithCipherSuites(dtls.TLS_PSK_WITH_AES_128_CCM_8)
var identity = dtls.WithPSKIdentityHint([]byte("a device"))

func main() {
	log.SetFlags(0)
	if len(os.Args) < 3 {
		log.Fatal("which role, and where?")
	}
	address, err := net.ResolveUDPAddr("udp", os.Args[2])
	check(err)
	switch os.Args[1] {
	case "server":
		prefix, err := hex.DecodeString(os.Args[3])
		check(err)
		serve(address, prefix)
	case "client":
		dial(address)
	default:
		log.Fatalf("no such role: %s", os.Args[1])
	}
}

func serve(address *net.UDPAddr, prefix []byte) {
	var issued atomic.Uint32
	ids := func() []byte { return append(append([]byte{}, prefix...), byte(issued.Add(1)-1)) }
	listener, err := dtls.ListenWithOptions("udp", address, key, suites, identity, dtls.WithConnectionIDGenerator(ids))
	check(err)
	fmt.Println("listening", listener.Addr().(*net.UDPAddr).Port)
	go func() { // ends with whoever started it
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	for {
		connection, err := listener.Accept()
		check(err)
		go func() { _, _ = io.Copy(connection, connection) }()
	}
}

func dial(address *net.UDPAddr) {
	connection, err := dtls.DialWithOptions("udp", address, key, suites, identity,
		dtls.WithConnectionIDGenerator(dtls.OnlySendCIDGenerator()))
	check(err)
	check(connection.Handshake())
	fmt.Println("connected")
	answer := make([]byte, 2048)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		_, err := connection.Write(lines.Bytes())
		check(err)
		length, err := connection.Read(answer)
		check(err)
		fmt.Println(string(answer[:length]))
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
