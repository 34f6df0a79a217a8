// SPDX-License-Identifier: Apache-2.0
// How a fallback that takes everything from its pod differs from the pod's container, and why; and the pods
// that it refuses. Closed lists: pod_likeness_test fails for what is not listed, scripts/report knows for an
// unused entry.
#pragma once

#include "likeness_reasons.hpp"

#include <array>
#include <fnmatch.h>
#include <string>

namespace fallbackd::e2e {

/// `pod`: a pattern for the fixture's name.
struct PodReason {
  const char* pod;
  Reason reason;
};

inline constexpr PodReason kPodReasons[] = {
    // stricter than a container
    {"*", {"NoNewPrivs", "0", "1", "always on"}},
    {"*", {"Seccomp", "0", "2", "never less than the runtime's default filter, also where kubelet's is off"}},
    {"14-root.json",
     {"CapBnd", "00000000a80425fb", "0000000000000000", "not root, so it has no capabilities"}},
    {"15-*",
     {"Cap*", "00000000aa0405fb", "00000000a80405fb", "SYS_TIME is not in launcher.allowedCapabilities"}},
    {"15-*",
     {"Cap[IA]*", "0000000000000000", "00000000a80405fb",
      "root has no power by itself (securebits), so what it may have is ambient"}},
    {"*",
     {"CapBnd", "00000000a80425fb", "0000000000000000",
      "the user is not root, and no program with file capabilities is there to raise any"}},
    {"14-root.json", {"Cap*", "00000000a80425fb", "0000000000000000", "not root, so it has no capabilities"}},
    {"14-root.json",
     {"[UG]id", "0 0 0 0", "6553[0-9] *", "a fallback is root only if its workload sets allowRoot"}},
    {"*",
     {"mount /", "overlay rw,*", "tmpfs ro,*",
      "its own root in memory, never writable; /tmp and the pod's volumes are"}},
    {"*",
     {"mount /*", "* ro,relatime*", "* ro,nosuid,nodev,relatime*",
      "set-user-id files and devices of a volume have no effect"}},
    {"*",
     {"mount /*", "* rw,relatime*", "* rw,nosuid,nodev,relatime*",
      "set-user-id files and devices of a volume have no effect"}},
    {"*", {"oom_score_adj", "*", "999", "the first to go where the node's memory runs out"}},
    // the node does not know it
    {"*", {"environment KUBERNETES_*", "*", kNothing, "the node does not know the cluster's Services"}},
    {"*", {"environment CART_*", "*", kNothing, "the node does not know the namespace's Services"}},
    {"*", {"limit cpu.shares", "*", "1024", "among the pod's containers a fallback has the default weight"}},
    {"24-*",
     {"Gid", "0 0 0 0", "1001 1001 1001 1001",
      "kubelet passes on the image's user without its group, which then is 0 where /etc/passwd has none"}},
    // kubelet's own files
    {"11-*", {"file /etc/hosts", "*", "*", "a fallback has a file of its own, not the node's"}},
    {"*",
     {"file /etc/hosts", "# Kubernetes-managed hosts file. | 127.0.0.1 localhost | ::1 localhost *",
      "127.0.0.1 localhost | ::1 localhost *",
      "the same names; without those of multicast, and of a subdomain"}},
    {"*",
     {"mount /dev/termination-log", "*", kNothing,
      "nobody reads the last words of a fallback: its log has them"}},
};

/// Pods with variables that only the API knows: readVariablesIn lists their namespace.
inline constexpr const char* kReadVariables[] = {"05-workflow-step.json", "18-env-from.json"};

/// What explain reports about a refused pod, and why that is right.
struct Refusal {
  const char* pod;
  const char* says;
  const char* why;
};

inline constexpr Refusal kRefusals[] = {
    {"09-downward.json", "how much the node has is not known",
     "a limit that is not set is the node's allocatable"},
    {"10-fs-group.json", "which persistent volume is behind the claim \"data-store-0\" is not known",
     "with two claims, only the API knows which volume is whose"},
    {"12-job.json", "the pod belongs to a Job",
     "a Job's work must not be done twice unless its operator says so"},
    {"16-shell.json", "the container starts the shell \"/bin/sh\"", "a fallback has no shell"},
    {"17-init-in-front.json",
     "it refers to $(SMTP_SERVICE_HOST), $(SMTP_SERVICE_PORT), whose value is not known",
     "only the API knows the namespace's Services"},
    {"20-device.json", "a fallback is never privileged", "nor has it devices"},
    {"21-static-pod.json", "launcher.allowHostNetwork does not allow it on this node",
     "the node's operator decides"},
};

/// Looks in the pod's own list first, then in the list for every fallback. nullptr: there is none.
inline const Reason* reasonFor(const std::string& pod, const std::string& row, const std::string& container,
                               const std::string& fallback) {
  const auto fits = [&](const Reason& one) {
    return ::fnmatch(one.row, row.c_str(), 0) == 0 && ::fnmatch(one.container, container.c_str(), 0) == 0 &&
           ::fnmatch(one.fallback, fallback.c_str(), 0) == 0;
  };
  for (const auto& one : kPodReasons) {
    if (::fnmatch(one.pod, pod.c_str(), 0) == 0 && fits(one.reason)) return &one.reason;
  }
  for (const auto& one : kReasons) {
    if (fits(one)) return &one;
  }
  return nullptr;
}

inline const Refusal* refusalOf(const std::string& pod) {
  for (const auto& one : kRefusals) {
    if (pod == one.pod) return &one;
  }
  return nullptr;
}

}  // namespace fallbackd::e2e
