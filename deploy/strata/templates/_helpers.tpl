{{- define "strata.driver" -}}csi.strata.dev{{- end }}

{{- /* Labels of every object; takes {root, component}. */}}
{{- define "strata.labels" -}}
app.kubernetes.io/name: strata
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- /* What selects the pods of a component: never changes, since selectors can't. */}}
{{- define "strata.selector" -}}
app.kubernetes.io/name: strata
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- /* An image; takes {root, image}. */}}
{{- define "strata.image" -}}
{{- $tag := .image.tag | default .root.Chart.AppVersion -}}
{{- if .image.digest -}}{{ .image.repository }}@{{ .image.digest }}{{- else -}}{{ .image.repository }}:{{ $tag }}{{- end -}}
{{- end }}

{{- define "strata.pullSecrets" -}}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Requests, and limits where there are any. */}}
{{- define "strata.resources" -}}
resources:
  requests: {{ toJson .requests }}
  {{- with .limits }}
  limits: {{ toJson . }}
  {{- end }}
{{- end }}

{{- /* Where the API server is, for a container that speaks to it. */}}
{{- define "strata.apiEnv" -}}
{{- with .Values.kubernetesAPI.host }}
- {name: KUBERNETES_SERVICE_HOST, value: {{ . | quote }}}
{{- end }}
{{- with .Values.kubernetesAPI.port }}
- {name: KUBERNETES_SERVICE_PORT, value: {{ . | toString | quote }}}
{{- end }}
{{- end }}

{{- define "strata.loggingArgs" -}}
- --v={{ .Values.logging.level }}
- --logging-format={{ .Values.logging.format }}
{{- end }}

{{- define "strata.tracingArgs" -}}
{{- with .Values.tracing.endpoint }}
- --tracing-endpoint={{ . }}
- --tracing-sampling-rate={{ $.Values.tracing.samplingRate }}
{{- end }}
{{- end }}

{{- /* Of a container that needs no privilege. */}}
{{- define "strata.unprivileged" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "strata.warmHolder" -}}
{{- if and .Values.tiers.warm.enabled .Values.tiers.warm.holder }}true{{ end -}}
{{- end }}

{{- define "strata.holder" -}}
{{- if or (include "strata.warmHolder" .) .Values.tiers.cold.enabled }}true{{ end -}}
{{- end }}

{{- define "strata.snapshots" -}}
{{- if and .Values.tiers.warm.enabled .Values.snapshots.enabled }}true{{ end -}}
{{- end }}

{{- /* What the schema can't say. */}}
{{- define "strata.check" -}}
{{- $t := .Values.tiers -}}
{{- if not (or $t.warm.enabled $t.cold.enabled $t.scratch.enabled) -}}
{{- fail "tiers: none is enabled; set tiers.warm.enabled, tiers.cold.enabled or tiers.scratch.enabled" -}}
{{- end -}}
{{- if $t.cold.enabled -}}
{{- range list .Values.node.kubeletDir .Values.mountd.stateDir .Values.mountd.logDir "/run/strata" "/run/ceph" "/tmp" -}}
{{- if or (eq $t.cold.cache.dir .) (hasPrefix (printf "%s/" .) $t.cold.cache.dir) (hasPrefix (printf "%s/" $t.cold.cache.dir) .) -}}
{{- fail (printf "tiers.cold.cache.dir: %s is, lies in, or holds %s, which strata-mountd has for something else" $t.cold.cache.dir .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $t.warm.enabled (not $t.warm.clusters) -}}
{{- fail "tiers.warm.clusters: is empty; give the Ceph clusters (values.yaml has an example), or set tiers.warm.enabled to false" -}}
{{- end -}}
{{- if and $t.scratch.enabled (not (or $t.scratch.config $t.scratch.groups)) -}}
{{- fail "tiers.scratch.config: is empty; give the disks and classes of the nodes (deploy/scratch.yaml has every key), or groups of nodes that have some" -}}
{{- end -}}
{{- $seen := dict -}}
{{- range $t.warm.clusters -}}
{{- if hasKey $seen .clusterID -}}{{- fail (printf "tiers.warm.clusters: clusterID %s stands there twice" .clusterID) -}}{{- end -}}
{{- $_ := set $seen .clusterID true -}}
{{- end -}}
{{- $seen = dict -}}
{{- range $t.scratch.groups -}}
{{- if hasKey $seen .name -}}{{- fail (printf "tiers.scratch.groups: name %s stands there twice" .name) -}}{{- end -}}
{{- $_ := set $seen .name true -}}
{{- end -}}
{{- end }}

{{- /* The Secret that nodes are given for a warm class: one for each volume, which the controller makes, or the operator's. */ -}}
{{- define "strata.warmSecret" -}}
{{- $own := eq (dig "parameters" "identity" "" .class) "volume" }}
{{- $secret := .class.secret | default dict }}
{{- if and $own $secret.name }}
{{- fail (printf "StorageClass %s: with identity: volume the controller makes the Secret of each volume; leave out secret" .class.name) }}
{{- else if and $own (not .root.Values.tiers.warm.volumeIdentities) }}
{{- fail (printf "StorageClass %s: identity: volume needs tiers.warm.volumeIdentities: true" .class.name) }}
{{- else if not (or $own $secret.name) }}
{{- fail (printf "StorageClass %s: nodes have nothing to mount with; set identity: volume in its parameters, or secret to the name of a Secret" .class.name) }}
{{- end }}
name: {{ ternary "${pv.name}" $secret.name $own | quote }}
namespace: {{ $secret.namespace | default .root.Release.Namespace | quote }}
{{- end -}}

{{- /* The Secret that nodes are given for a cold class: one for each volume, which the controller makes and keeps fresh, or the operator's. */ -}}
{{- define "strata.coldSecret" -}}
{{- $own := eq (dig "parameters" "identity" "" .class) "volume" }}
{{- if and $own .class.controllerSecret }}
{{- fail (printf "StorageClass %s: with identity: volume nodes get a Secret of each volume, and secret is the controller's; leave out controllerSecret" .class.name) }}
{{- end }}
name: {{ ternary "${pv.name}" .class.secret.name $own | quote }}
namespace: {{ ternary .root.Release.Namespace (.class.secret.namespace | default .root.Release.Namespace) $own | quote }}
{{- end -}}

{{- /* "true" where a cold class has identity: volume. */ -}}
{{- define "strata.coldIdentities" -}}
{{- if .Values.tiers.cold.enabled }}
{{- range .Values.tiers.cold.storageClasses }}
{{- if eq (dig "parameters" "identity" "" .) "volume" }}true{{ end }}
{{- end }}
{{- end }}
{{- end -}}
