// SPDX-License-Identifier: Apache-2.0
// An isolated program with a node and a pod in it, for isolation_test: prints its folder ("dir="), then
// "ready". Then it exits with the given code or, without a code, waits until something ends it.
#include "containerd_node.hpp"
#include "isolate.hpp"
#include "kubelet/kubelet.hpp"
#include "run_dir.hpp"

#include <cstdio>
#include <cstdlib>
#include <unistd.h>

namespace {

namespace e2e = fallbackd::e2e;

fallbackd::Result<int> probe(int argc, char** argv) {
  std::printf("dir=%s\n", e2e::runDir().c_str());
  FB_TRY(const auto node, e2e::ContainerdNode::start());
  e2e::Kubelet kubelet(*node);
  e2e::PodSpec spec;
  spec.name = "web-0";
  spec.volumes = {{e2e::PodVolume::Kind::secret, "token", {{"token", "t"}}}};
  FB_TRY(const auto pod, kubelet.startPod(spec));
  std::printf("ready\n");
  std::fflush(stdout);
  if (argc < 2) {
    for (;;) ::pause();
  }
  // Exits at once, without destructors: whatever is left behind must disappear anyway.
  ::_exit(std::atoi(argv[1]));  // NOLINT(cert-err34-c): written by the test
}

}  // namespace

int main(int argc, char** argv) {
  return e2e::runIsolated(argc, argv, [argc, argv] {
    const auto code = probe(argc, argv);
    if (!code) std::fprintf(stderr, "%s\n", code.error().message().c_str());
    return code ? *code : 1;
  });
}
