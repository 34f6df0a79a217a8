// SPDX-License-Identifier: Apache-2.0
// Judges each container of a pod, or of a workload's template, before anything fails: would a fallback start,
// which one, and what would it lack.
//
// Pure: reads nothing but its arguments. Reports what a recovery would decide, with the same code.
#pragma once

#include "base/clock.hpp"
#include "base/error.hpp"
#include "config/model.hpp"
#include "config/pause.hpp"
#include "coverage/verdict.hpp"
#include "cri/types.hpp"
#include "domain/binary_ref.hpp"
#include "domain/image_config.hpp"
#include "kube/facts.hpp"
#include "kube/pod_spec.hpp"
#include "watcher/pod_choices.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace fallbackd::coverage {

/// A binary that has been checked.
struct Binary {
  bool serves = true;            // a recovery would get it
  bool inGrace = false;          // expired, within expiryGrace
  std::optional<Error> refused;  // what is on disk is refused; an earlier copy may serve
  std::optional<ImageConfig> image = {};
  /// Namespaces whose pods may choose it by annotation; absent: the attestation leaves that to the node.
  std::optional<std::vector<std::string>> namespaces = {};
};

/// The state of a node that fallbacks depend on.
struct Node {
  config::ConfigPtr config;
  std::map<BinaryRef, Binary> binaries;
  /// What it means if a binary is not listed.
  enum class Unlisted : std::uint8_t { missing, not_checked };
  Unlisted unlisted = Unlisted::missing;
  config::Pause pause = {};
};

struct ContainerCoverage {
  enum class Kind : std::uint8_t { container, sidecar, init };

  std::string container;
  Kind kind = Kind::container;
  Verdict verdict = Verdict::not_covered;
  std::string image;     // empty: not known
  std::string workload;  // empty: none
  std::string binary;    // NAME@VERSION; empty: none
  bool byAnnotation = false;
  std::string why;                   // one sentence
  std::string next;                  // what a person should do; empty: nothing
  std::vector<std::string> differs;  // what its fallback would not have: "PATH: WHY"
};

struct PodCoverage {
  std::string podNamespace;
  std::string pod;
  std::string owner;  // "Deployment checkout"; empty: a pod without owner
  bool specified = true;
  std::vector<ContainerCoverage> containers;
};

struct PodRequest {
  const cri::Sandbox& sandbox;
  const watcher::PodChoices& choices;  // what its annotations request
  /// Null: judged by the configuration alone.
  const kube::Pod* spec = nullptr;
  /// Names of containers that are known without a specification.
  std::vector<std::string> containers = {};
  kube::Facts facts = {};  // what is known besides the specification
};

PodCoverage judge(const Node& node, const PodRequest& request);
/// A pod as Kubernetes describes it, or a template made into one.
PodCoverage judge(const Node& node, const kube::Pod& spec);

Counts count(const std::vector<PodCoverage>& pods);

std::string_view toString(ContainerCoverage::Kind kind);

}  // namespace fallbackd::coverage
