// SPDX-License-Identifier: Apache-2.0
// A first configuration from Kubernetes objects: what a workload can say is taken over by the same code by
// which the daemon inherits from a pod, and everything else is named where a person has to decide.
#pragma once

#include "config/model.hpp"
#include "config/problems.hpp"
#include "coverage/templates.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace fallbackd::ctl {

struct StarterOptions {
  enum class Form : std::uint8_t {
    whole,   // all that the daemon needs, without a source of pods
    short_,  // match and binary: the rest is inherited
  };
  Form form = Form::whole;
  config::LauncherSettings launcher;  // what the node allows
  bool namespaceGiven = false;        // of objects that name none
};

struct Starter {
  std::string yaml;  // empty if nothing could be created
  int workloads = 0;
  int openPoints = 0;  // comments that begin with "# TODO:"
};

Starter makeStarter(const std::vector<coverage::Template>& templates, const StarterOptions& options);

}  // namespace fallbackd::ctl
