// SPDX-License-Identifier: Apache-2.0
// A first configuration from Kubernetes objects: the code with which the daemon inherits from a pod takes
// over what a workload can express, and everything else is listed for a person to decide.
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
