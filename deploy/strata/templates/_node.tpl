{{- /*
The DaemonSet of strata-node for one group of nodes; takes {root, group, config, key}. Why it is as it is:
- privileged: only a privileged container may have Bidirectional mounts, without which no mount of the driver would reach a pod; it mounts file
  systems, makes loop and device-mapper devices and sets quotas besides.
- hostNetwork: the sockets of a mount of the kernel's CephFS client are of the network namespace in which it was mounted, and would end with the pod's.
- nothing is mounted below another mount here: with Bidirectional propagation it would stay on the node, once more at every start.
*/}}
{{- define "strata.nodeDaemonSet" -}}
{{- $n := .root.Values.node }}
{{- $root := .root }}
{{- $warm := .root.Values.tiers.warm.enabled }}
{{- $scratch := .root.Values.tiers.scratch }}
{{- $component := dict "root" .root "component" "node" }}
{{- $paths := dict }}
{{- $groups := dict }}
{{- range dig "pools" list (.config | default dict) }}
{{- range .disks }}
{{- with .path }}{{- $_ := set $paths . "Directory" }}{{- end }}
{{- with .volumeGroup }}{{- $_ := set $groups . true }}{{- end }}
{{- end }}
{{- end }}
{{- if .config }}
{{- range $scratch.hostPaths }}{{- $_ := set $paths . "Directory" }}{{- end }}
{{- end }}
{{- range $path, $_ := $paths }}
{{- range list $n.kubeletDir $n.stateDir "/dev" "/run/strata" }}
{{- if or (eq $path .) (hasPrefix (printf "%s/" .) $path) (hasPrefix (printf "%s/" $path) .) }}
{{- fail (printf "tiers.scratch: %s is, lies in, or holds %s, which strata-node has for something else" $path .) }}
{{- end }}
{{- end }}
{{- end }}
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: strata-node{{ with .group }}-{{ . }}{{ end }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "strata.labels" $component | nindent 4 }}
spec:
  selector:
    matchLabels:
      {{- include "strata.selector" $component | nindent 6 }}
      csi.strata.dev/scratch-group: {{ .group | default "default" }}
  updateStrategy:
    rollingUpdate: {maxUnavailable: {{ $n.maxUnavailable }}}
  template:
    metadata:
      labels:
        {{- include "strata.selector" $component | nindent 8 }}
        csi.strata.dev/scratch-group: {{ .group | default "default" }}
        {{- with $n.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        kubectl.kubernetes.io/default-container: strata-node
        {{- with .config }}
        # The scratch configuration is read at start.
        checksum/scratch: {{ toYaml . | sha256sum }}
        {{- end }}
        {{- with $n.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: strata-node
      priorityClassName: {{ $n.priorityClassName }}
      enableServiceLinks: false
      hostNetwork: true
      dnsPolicy: ClusterFirstWithHostNet
      {{- if $n.hostPID }}
      hostPID: true
      {{- end }}
      {{- with include "strata.pullSecrets" .root }}
      {{- . | nindent 6 }}
      {{- end }}
      {{- $selector := merge (dict "kubernetes.io/os" "linux") $n.nodeSelector }}
      {{- with .group }}
      {{- $selector = merge (dict "csi.strata.dev/scratch-group" .) $selector }}
      {{- end }}
      nodeSelector: {{ toJson $selector }}
      {{- if or $n.affinity (and (not .group) $scratch.enabled $scratch.groups) }}
      {{- $affinity := deepCopy $n.affinity }}
      {{- if and (not .group) $scratch.enabled $scratch.groups }}
      {{- /* Nodes of a group are another DaemonSet's: the label joins every term that the values give. */}}
      {{- $names := list }}
      {{- range $scratch.groups }}{{- $names = append $names .name }}{{- end }}
      {{- $not := dict "key" "csi.strata.dev/scratch-group" "operator" "NotIn" "values" $names }}
      {{- $terms := list }}
      {{- range dig "nodeAffinity" "requiredDuringSchedulingIgnoredDuringExecution" "nodeSelectorTerms" (list dict) $affinity }}
      {{- $terms = append $terms (merge (dict "matchExpressions" (append (.matchExpressions | default list) $not)) .) }}
      {{- end }}
      {{- $affinity = mergeOverwrite $affinity (dict "nodeAffinity" (dict "requiredDuringSchedulingIgnoredDuringExecution" (dict "nodeSelectorTerms" $terms))) }}
      {{- end }}
      affinity: {{ toJson $affinity }}
      {{- end }}
      {{- with $n.tolerations }}
      tolerations:
      {{- toYaml . | nindent 6 }}
      - {key: csi.strata.dev/not-ready, operator: Exists}
      {{- end }}
      containers:
      - name: strata-node
        image: {{ include "strata.image" (dict "root" .root "image" .root.Values.images.node) }}
        imagePullPolicy: {{ .root.Values.images.pullPolicy }}
        command: [/usr/local/bin/strata-node]
        args:
        # kubelet is told this very path, so it is the same here and on the node.
        - --endpoint=unix://{{ $n.kubeletDir }}/plugins/csi.strata.dev/csi.sock
        - --registration-dir={{ $n.kubeletDir }}/plugins_registry
        - --node-id=$(NODE_NAME)
        - --kubeconfig=in-cluster
        - --namespace=$(POD_NAMESPACE)
        - --kubelet-dir={{ $n.kubeletDir }}
        - --state-dir={{ $n.stateDir }}
        - --cluster-config={{ if $warm }}/etc/strata/clusters.yaml{{ end }}
        - --mountd-socket={{ if include "strata.holder" .root }}/run/strata/mountd.sock{{ end }}
        {{- if .root.Values.tiers.cold.enabled }}
        - --cold
        {{- end }}
        {{- if .config }}
        - --scratch-config=/etc/strata/scratch.yaml
        - --scratch-reap-every={{ $scratch.reapEvery }}
        {{- else if $scratch.enabled }}
        # Nodes without scratch disks are told apart all the same.
        - --topology
        {{- end }}
        - --metrics-address=[$(HOST_IP)]:{{ $n.metricsPort }}
        {{- include "strata.loggingArgs" .root | nindent 8 }}
        {{- with include "strata.tracingArgs" .root }}
        {{- . | trim | nindent 8 }}
        {{- end }}
        {{- with $n.extraArgs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        env:
        - {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
        - {name: HOST_IP, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
        - {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
        {{- with include "strata.apiEnv" .root }}
        {{- . | trim | nindent 8 }}
        {{- end }}
        {{- with $n.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        ports:
        - {name: node-metrics, containerPort: {{ $n.metricsPort }}}
        # Trying the scratch disks at start may take a while.
        startupProbe: {tcpSocket: {port: node-metrics}, periodSeconds: 2, failureThreshold: 150}
        # Fails, with the reason, while kubelet hasn't taken the driver.
        readinessProbe: {httpGet: {path: /healthz, port: node-metrics}, periodSeconds: 10, timeoutSeconds: 5}
        # Not /healthz: a kubelet that refuses is no reason to start the program anew.
        livenessProbe: {tcpSocket: {port: node-metrics}, periodSeconds: 20, failureThreshold: 3}
        {{- include "strata.resources" $n.resources | nindent 8 }}
        securityContext:
          privileged: true
          runAsUser: 0
          readOnlyRootFilesystem: true
        volumeMounts:
        - {name: kubelet, mountPath: {{ $n.kubeletDir }}, mountPropagation: Bidirectional}
        # Mounted only so that kubelet makes the directory before the socket is in it.
        - {name: plugin, mountPath: /csi}
        - {name: state, mountPath: {{ $n.stateDir }}, mountPropagation: Bidirectional}
        - {name: mountd, mountPath: /run/strata}
        # Loop devices and logical volumes that come after the container's start.
        - {name: dev, mountPath: /dev}
        - {name: tmp, mountPath: /tmp}
        {{- if or $warm .config }}
        - {name: config, mountPath: /etc/strata, readOnly: true}
        {{- end }}
        {{- range $i, $path := keys $paths | sortAlpha }}
        - {name: disk-{{ $i }}, mountPath: {{ $path | quote }}, mountPropagation: HostToContainer}
        {{- end }}
        {{- if $groups }}
        # Keeps out the node's own LVM commands.
        - {name: lvm-lock, mountPath: /run/lock/lvm}
        {{- end }}
      volumes:
      - {name: kubelet, hostPath: {path: {{ $n.kubeletDir }}, type: Directory}}
      - {name: plugin, hostPath: {path: {{ $n.kubeletDir }}/plugins/csi.strata.dev, type: DirectoryOrCreate}}
      - {name: state, hostPath: {path: {{ $n.stateDir }}, type: DirectoryOrCreate}}
      - {name: mountd, hostPath: {path: /run/strata, type: DirectoryOrCreate}}
      - {name: dev, hostPath: {path: /dev, type: Directory}}
      - {name: tmp, emptyDir: {medium: Memory, sizeLimit: 64Mi}}
      {{- if or $warm .config }}
      - name: config
        projected:
          sources:
          {{- if $warm }}
          - configMap:
              name: strata-clusters
              items: [{key: node.yaml, path: clusters.yaml}]
          {{- end }}
          {{- if .config }}
          - configMap:
              name: strata-scratch
              items: [{key: {{ .key }}, path: scratch.yaml}]
          {{- end }}
      {{- end }}
      {{- /* It has to be there: made here it would be a directory of the node's own disk. */}}
      {{- range $i, $path := keys $paths | sortAlpha }}
      - {name: disk-{{ $i }}, hostPath: {path: {{ $path | quote }}, type: Directory}}
      {{- end }}
      {{- if $groups }}
      - {name: lvm-lock, hostPath: {path: /run/lock/lvm, type: DirectoryOrCreate}}
      {{- end }}
{{- end }}
