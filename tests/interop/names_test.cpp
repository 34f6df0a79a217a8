// SPDX-License-Identifier: Apache-2.0
// Names and connections of a fallback in the pod's network, compared with a container of the pod: programs
// with three C libraries and in Go, a DNS server that only the pod can reach, a mesh's redirection.
#include "launch_fixture.hpp"
#include "shell.hpp"

#include <csignal>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gmock/gmock.h>

namespace fallbackd::test {

using ::testing::HasSubstr;

namespace {

constexpr const char* kCSource = R"(
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void lookup(const char* name) {
  struct addrinfo hints = {0}, *found = NULL;
  char text[INET_ADDRSTRLEN] = "none";
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  if (getaddrinfo(name, NULL, &hints, &found) == 0)
    inet_ntop(AF_INET, &((struct sockaddr_in*)found->ai_addr)->sin_addr, text, sizeof text);
  printf("%s is %s\n", name, text);
}

static void greet(const char* address, const char* port) {
  char line[64] = "";
  struct sockaddr_in to = {0};
  int s = socket(AF_INET, SOCK_STREAM, 0);
  to.sin_family = AF_INET;
  to.sin_port = htons((unsigned short)atoi(port));
  inet_pton(AF_INET, address, &to.sin_addr);
  if (connect(s, (struct sockaddr*)&to, sizeof to) != 0 || read(s, line, sizeof line - 1) <= 0) strcpy(line, "nobody\n");
  printf("there is %s", line);
}

int main(int argc, char** argv) {
  int i;
  if (argc > 1 && strcmp(argv[1], "--health-check") == 0) return 0;
  if (argc > 3 && strcmp(argv[1], "greet") == 0) greet(argv[2], argv[3]);
  for (i = 1; i < argc && strcmp(argv[1], "greet") != 0; ++i) lookup(argv[i]);
  puts("end");
  fflush(stdout);
  for (;;) pause();
}
)";

constexpr const char* kGoSource = R"(package main

import (
	"fmt"
	"net"
	"os"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "--health-check" {
		return
	}
	for _, name := range os.Args[1:] {
		found, err := net.LookupIP(name)
		if err != nil || len(found) == 0 {
			fmt.Printf("%s is none\n", name)
		} else {
			fmt.Printf("%s is %s\n", name, found[0])
		}
	}
	fmt.Println("end")
	select {}
}
)";

}  // namespace

class Names : public LaunchTest {
 protected:
  void TearDown() override {
    for (const pid_t pid : servers_) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
    LaunchTest::TearDown();
  }

  [[nodiscard]] std::string inPod() const {
    return "nsenter --net=/proc/" + std::to_string(sandbox->pause()) + "/ns/net ";
  }
  /// Runs a server in the pod's network until the test ends; ready when its output contains `up`.
  void serve(const std::string& command, const std::string& up) {
    const std::string log = folder / ("server-" + std::to_string(servers_.size()));
    std::string line = "exec " + inPod() + command + " >" + log + " 2>&1 </dev/null";
    char name[] = "sh";
    char option[] = "-c";
    char* argv[] = {name, option, line.data(), nullptr};
    pid_t pid = 0;
    ASSERT_EQ(::posix_spawn(&pid, "/bin/sh", nullptr, nullptr, argv, environ), 0);
    servers_.push_back(pid);
    for (int i = 0; i < 2000 && contentOf(log).find(up) == std::string::npos; ++i)
      loop.run_for(std::chrono::milliseconds(10));
    ASSERT_THAT(contentOf(log), HasSubstr(up));
  }
  void setUpDns() {
    ASSERT_EQ(shell(inPod() + "ip address add 10.96.0.10/32 dev lo").code, 0);
    serve(
        "dnsmasq --no-daemon --conf-file=/dev/null --no-resolv --no-hosts --bind-interfaces "
        "--listen-address=10.96.0.10 --log-queries --user=root --pid-file= --local=/local/ "
        "--local=/example.com/ "
        "--host-record=checkout.market.svc.cluster.local,10.1.2.3 --host-record=api.example.com,10.4.5.6",
        "started, version");
  }
  [[nodiscard]] std::string queries() const { return contentOf(folder / "server-0"); }

  std::string compiled(const std::string& source, const std::string& name, const std::string& command) {
    writeText(folder / name, source);
    const auto built = shell("cd " + folder.string() +
                             " && export HOME=$PWD GOCACHE=$PWD/gocache GOPATH=$PWD/gopath "
                             "GOFLAGS=-modcacherw GOPROXY=off CGO_ENABLED=0 && " +
                             command);
    EXPECT_EQ(built.code, 0) << built.text;
    return folder / "program";
  }
  std::string outputOf(const std::string& program, std::vector<std::string> args, uid_t uid = 65532) {
    auto wanted = request(std::move(args));
    wanted.executable = sealedCopy(program);
    wanted.workload.user.uid = uid;
    const auto process = launched(std::move(wanted));
    if (process == nullptr) return "";
    auto log = logWith(process, " F end\n");
    stop(process);
    return log;
  }
  /// Looks up a short name that is found through the pod's search domain, a name with few dots outside it,
  /// and a name that does not exist.
  void expectNames(const std::string& program) {
    const auto log = outputOf(program, {"checkout", "api.example.com", "nowhere"});
    EXPECT_THAT(log, HasSubstr("checkout is 10.1.2.3\n"));
    EXPECT_THAT(log, HasSubstr("api.example.com is 10.4.5.6\n"));
    EXPECT_THAT(log, HasSubstr("nowhere is none\n"));
    // ndots:5: the search domain is tried before the name itself.
    EXPECT_THAT(queries(), HasSubstr("api.example.com.market.svc.cluster.local"));
  }

  std::vector<pid_t> servers_;
};

TEST_F(Names, ResolveWithGlibcStatic) {
  setUpDns();
  // glibc warns that a static getaddrinfo may load libraries. An empty root has none, and the lookup works.
  expectNames(compiled(kCSource, "main.c", "gcc -O1 -static-pie main.c -o program 2>/dev/null"));
}

TEST_F(Names, ResolveWithMusl) {
  setUpDns();
  expectNames(compiled(kCSource, "main.c", "musl-gcc -O1 -static main.c -o program"));
}

TEST_F(Names, ResolveWithGo) {
  setUpDns();
  expectNames(compiled(kGoSource, "main.go", "go build -o program main.go"));
}

TEST_F(Names, AMeshRedirectsAFallbackLikeAContainer) {
  const auto program = compiled(kCSource, "main.c", "gcc -O1 -static-pie main.c -o program 2>/dev/null");
  // An address and a default route, as a pod has them; nothing is at the other end.
  for (const char* step : {"link add eth0 type veth peer name other", "link set eth0 up", "link set other up",
                           "address add 10.88.0.2/24 dev eth0", "route add default via 10.88.0.1"}) {
    ASSERT_EQ(shell(inPod() + "ip " + step).code, 0) << step;
  }
  ASSERT_EQ(shell(inPod() + "iptables -t nat -A OUTPUT -p tcp -d 192.0.2.0/24 -m owner ! --uid-owner 1337 "
                            "-j REDIRECT --to-ports 15001")
                .code,
            0);
  serve(
      "python3 -u -c 'import socket\n"
      "s = socket.create_server((\"127.0.0.1\", 15001))\n"
      "print(\"listening\")\n"
      "while True:\n"
      "    c = s.accept()[0]\n"
      "    c.sendall(b\"the sidecar\\n\")\n"
      "    c.close()'",
      "listening");
  // The same from a container's process: it counts only that it is in the pod's network.
  const auto other = shell(inPod() + "timeout 10 " + program + " greet 192.0.2.1 80 | head -n 1");
  EXPECT_THAT(other.text, HasSubstr("there is the sidecar\n"));
  EXPECT_THAT(outputOf(program, {"greet", "192.0.2.1", "80"}), HasSubstr("there is the sidecar\n"));
  // The mesh exempts its own user, and so any program that runs as that user.
  EXPECT_THAT(outputOf(program, {"greet", "192.0.2.1", "80"}, 1337), HasSubstr("there is nobody\n"));
}

}  // namespace fallbackd::test
