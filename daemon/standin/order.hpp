// SPDX-License-Identifier: Apache-2.0
// The container that kubelet adopts: its labels, annotations, name and log. Pure.
#pragma once

#include "cri/control.hpp"
#include "domain/binary_ref.hpp"
#include "standin/image.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace fallbackd::standin {

/// What a stand-in is made for.
struct Request {
  std::string recoveryId;
  cri::SandboxStatus sandbox;
  std::string container;
  std::string image;  // the pod's specification's own text
  BinaryRef binary;
  unsigned restarts = 0;  // of the fallback
  std::string logPath;    // of the fallback's log, below the sandbox's log directory
  std::chrono::seconds grace{30};
  // From the specification: what must have ended, and what must run, before kubelet would start the
  // container.
  std::vector<std::string> initContainers;
  std::vector<std::string> sidecars;
  // What kubelet executes in the container, if anything, and the variables that it finds there.
  std::optional<Executable> executable = {};
  std::map<std::string, std::string> env = {};
};

/// Empty if kubelet could start the container now, judging by its sandbox's containers; otherwise what it
/// waits for.
std::string missingBefore(const Request& request, const std::vector<cri::Container>& others);

/// kubelet numbers its attempts from 0; none of its pods gets here.
inline constexpr std::uint32_t kFirstAttempt = 1U << 30;

/// `others`: the containers of the pod, whose restart counts it continues.
cri::ContainerOrder orderOf(const Request& request, const std::string& runDir,
                            const std::vector<cri::Container>& others);

}  // namespace fallbackd::standin
